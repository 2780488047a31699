// Which of many connections have something to read, and what it is. One thread.
#pragma once
#include <sys/epoll.h>
#include <unistd.h>

#include <cstdint>
#include <string_view>
#include <utility>

#include "bench/link.h"

namespace bench {

class Watch {
 public:
  Watch() = default;
  ~Watch() {
    if (epoll_ >= 0) close(epoll_);
  }
  Watch(Watch&& other) noexcept : epoll_(std::exchange(other.epoll_, -1)) {}

  void add(int descriptor, size_t number) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = number;
    epoll_ctl(epoll_, EPOLL_CTL_ADD, descriptor, &event);
  }

  // Calls it with the numbers of those that are ready, once one is; false if none is within the
  // time. -1: no limit.
  template <class Each>
  bool each(int within_ms, Each call) {
    epoll_event events[512];
    int count = epoll_wait(epoll_, events, 512, within_ms);
    for (int i = 0; i < count; i++) call(size_t(events[i].data.u64));
    return count > 0;
  }

 private:
  int epoll_ = epoll_create1(EPOLL_CLOEXEC);
};

// What has come, until the next call; it may be nothing.
inline std::string_view received(Link& link) {
  static char buffer[1 << 16];
  ssize_t size = link.receive(buffer, sizeof buffer);
  if (size == 0) fail("connection lost");
  return {buffer, size < 0 ? 0 : size_t(size)};
}

}  // namespace bench
