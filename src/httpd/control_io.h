// Texts through local sockets that do not block, each the whole of what one side says.
#pragma once
#include <unistd.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace mws {

// A descriptor that it closes.
class Descriptor {
 public:
  explicit Descriptor(int number = -1) : number_(number) {}
  ~Descriptor() {
    if (number_ >= 0) close(number_);
  }
  Descriptor(Descriptor&& from) noexcept : number_(std::exchange(from.number_, -1)) {}
  Descriptor& operator=(Descriptor&& from) noexcept {
    std::swap(number_, from.number_);
    return *this;
  }
  int number() const { return number_; }
  explicit operator bool() const { return number_ >= 0; }

 private:
  int number_;
};

// For how long is waited.
struct Patience {
  // Until one of poll's events is there. False: the time is over, or it has to end.
  bool await(int descriptor, short events) const;

  uint64_t deadline_ms;  // UINT64_MAX: none
  int end = -1;          // a descriptor that is readable where it has to end; -1: there is none
};

// False if the other side does not take it.
bool send_all(int socket, std::string_view text, const Patience& patience);
// Up to the end of what the other side says; nothing if that does not come, or is more than `most`
// bytes. Throws std::bad_alloc.
std::optional<std::string> receive_all(int socket, size_t most, const Patience& patience);

}  // namespace mws
