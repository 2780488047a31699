// Memory of OpenCounts as the children of a server have it.
#pragma once
#include <gtest/gtest.h>
#include <sys/mman.h>

#include "src/engine/open_counts.h"

namespace mws::test {

class CountsMemory {
 public:
  explicit CountsMemory(const OpenCounts::Sizes& sizes) : size_(OpenCounts::bytes_for(sizes)) {
    at_ = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    EXPECT_NE(at_, MAP_FAILED);
    OpenCounts::lay_out(at_, sizes);
  }
  ~CountsMemory() { munmap(at_, size_); }
  CountsMemory(const CountsMemory&) = delete;
  CountsMemory& operator=(const CountsMemory&) = delete;

  OpenCounts counts() const { return OpenCounts(at_); }

 private:
  size_t size_;
  void* at_;
};

}  // namespace mws::test
