#include "src/engine/socket_transport.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

namespace mws {

namespace {
IoResult result_of(ssize_t size) {
  if (size > 0) return {IoResult::done, size_t(size)};
  if (size == 0) return {IoResult::end};
  return {errno == EAGAIN || errno == EINTR || errno == ENOBUFS ? IoResult::again
                                                                : IoResult::failed};
}
}  // namespace

SocketTransport::~SocketTransport() { close(descriptor_); }

IoResult SocketTransport::read(MutableBytes into) {
  return result_of(recv(descriptor_, into.data(), into.size(), MSG_DONTWAIT));
}

IoResult SocketTransport::write(std::span<const iovec> pieces) {
  constexpr int flags = MSG_DONTWAIT | MSG_NOSIGNAL;
  if (pieces.size() == 1)
    return result_of(send(descriptor_, pieces[0].iov_base, pieces[0].iov_len, flags));
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(pieces.data());
  message.msg_iovlen = pieces.size();
  return result_of(sendmsg(descriptor_, &message, flags));
}

bool SocketTransport::finish_writing() { return shutdown(descriptor_, SHUT_WR) == 0; }

}  // namespace mws
