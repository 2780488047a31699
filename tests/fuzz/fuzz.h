// What the fuzz targets share.
#pragma once
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include "src/base/bytes.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace mws::fuzz {

inline std::string quoted(std::string_view bytes) {
  std::string out;
  char piece[8];
  for (char c : bytes) {
    bool plain = (c >= ' ' && c <= '~' && c != '\\') || c == '\n';
    snprintf(piece, sizeof piece, plain ? "%c" : "\\x%02x", uint8_t(c));
    out += piece;
  }
  return out;
}

// Ends the program, which libFuzzer takes for a crash, unless it is so.
inline void demand(bool is_so, const char* what) {
  if (is_so) return;
  fprintf(stderr, "not so: %s\n", what);
  abort();
}

// The same, with both texts in the report.
inline void demand_same(const char* what, std::string_view one, std::string_view other) {
  if (one == other) return;
  fprintf(stderr, "%s differs:\n---\n%s\n---\n%s\n---\n", what, quoted(one).c_str(),
          quoted(other).c_str());
  abort();
}

// Numbers from the front of an input; zeros once it is used up.
struct Input {
  Bytes rest;
  uint8_t next() {
    uint8_t value = rest.empty() ? 0 : rest[0];
    rest = after(1);
    return value;
  }
  Bytes after(size_t size) const { return rest.subspan(std::min(size, rest.size())); }
};

// A copy in memory exactly as long as it is, so that the sanitizer sees a step over its end.
class Copy {
 public:
  explicit Copy(Bytes bytes) : memory_(new uint8_t[bytes.size()]), size_(bytes.size()) {
    std::copy(bytes.begin(), bytes.end(), memory_.get());
  }
  MutableBytes bytes() { return {memory_.get(), size_}; }
  std::string_view text() { return text_of(bytes()); }

 private:
  std::unique_ptr<uint8_t[]> memory_;
  size_t size_;
};

}  // namespace mws::fuzz
