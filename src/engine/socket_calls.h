// recv, send and sendmsg without waiting, for sockets and threads that nobody cancels.
#pragma once
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstddef>
#include <span>

#include "src/base/bytes.h"

namespace mws {

// The C library's own are points of cancellation, which costs them two calls more in a process that
// has threads. The sanitizers know only those.
#if !defined(SYS_recvfrom) || !defined(SYS_sendto) || defined(__SANITIZE_ADDRESS__) || \
    defined(__SANITIZE_THREAD__)
inline ssize_t receive_now(int descriptor, MutableBytes into) {
  return recv(descriptor, into.data(), into.size(), MSG_DONTWAIT);
}

inline ssize_t send_now(int descriptor, const void* from, size_t size) {
  return send(descriptor, from, size, MSG_DONTWAIT | MSG_NOSIGNAL);
}
#else
inline ssize_t receive_now(int descriptor, MutableBytes into) {
  return syscall(SYS_recvfrom, descriptor, into.data(), into.size(), MSG_DONTWAIT, nullptr,
                 nullptr);
}

inline ssize_t send_now(int descriptor, const void* from, size_t size) {
  return syscall(SYS_sendto, descriptor, from, size, MSG_DONTWAIT | MSG_NOSIGNAL, nullptr, 0);
}
#endif

inline ssize_t send_now(int descriptor, std::span<const iovec> pieces) {
  if (pieces.size() == 1) return send_now(descriptor, pieces[0].iov_base, pieces[0].iov_len);
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(pieces.data());
  message.msg_iovlen = pieces.size();
  return sendmsg(descriptor, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

}  // namespace mws
