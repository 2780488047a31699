#include "src/engine/socket_transport.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "src/engine/socket_calls.h"

namespace mws {

namespace {
IoResult result_of(ssize_t size) {
  if (size > 0) return {IoResult::done, size_t(size)};
  if (size == 0) return {IoResult::end};
  return {errno == EAGAIN || errno == EINTR || errno == ENOBUFS ? IoResult::again
                                                                : IoResult::failed};
}
}  // namespace

IoResult read_socket(int descriptor, MutableBytes into) {
  IoResult result = result_of(receive_now(descriptor, into));
  result.read_on = result.size == into.size();
  return result;
}

IoResult write_socket(int descriptor, std::span<const iovec> pieces) {
  return result_of(send_now(descriptor, pieces));
}

SocketTransport::~SocketTransport() { close(descriptor_); }

bool SocketTransport::finish_writing() { return shutdown(descriptor_, SHUT_WR) == 0; }

}  // namespace mws
