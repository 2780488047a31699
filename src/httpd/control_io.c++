#include "src/httpd/control_io.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "src/base/clock.h"

namespace mws {

bool Patience::await(int descriptor, short events) const {
  constexpr uint64_t kLongest_ms = 60'000;
  pollfd polled[] = {{descriptor, events, 0}, {end, POLLIN, 0}};  // poll passes over a negative one
  for (;;) {
    uint64_t now_ms = monotonic_ms();
    uint64_t left_ms = deadline_ms - std::min(deadline_ms, now_ms);
    int ready = poll(polled, 2, int(std::min(left_ms, kLongest_ms)));
    if (ready < 0 && errno != EINTR) return false;
    if (ready > 0) return !polled[1].revents;
    if (!ready && left_ms <= kLongest_ms) return false;
  }
}

bool send_all(int socket, std::string_view text, const Patience& patience) {
  while (!text.empty()) {
    ssize_t sent = send(socket, text.data(), text.size(), MSG_NOSIGNAL);
    if (sent > 0) text.remove_prefix(size_t(sent));
    else if (errno != EAGAIN && errno != EINTR) return false;
    else if (!patience.await(socket, POLLOUT)) return false;
  }
  return true;
}

std::optional<std::string> receive_all(int socket, size_t most, const Patience& patience) {
  std::string text;
  char part[16 * 1024];
  for (;;) {
    if (!patience.await(socket, POLLIN)) return std::nullopt;
    ssize_t size = recv(socket, part, sizeof part, 0);
    if (!size) return text;
    if (size < 0 && errno != EAGAIN && errno != EINTR) return std::nullopt;
    if (size < 0) continue;
    if (text.size() + size_t(size) > most) return std::nullopt;
    text.append(part, size_t(size));
  }
}

}  // namespace mws
