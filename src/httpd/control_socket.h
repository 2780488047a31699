// The sockets by which children of the server are asked.
#pragma once
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

namespace mws {

struct ControlAddress {
  explicit ControlAddress(pid_t child);
  const sockaddr* address() const { return reinterpret_cast<const sockaddr*>(&named); }

  sockaddr_un named{};
  socklen_t size = 0;
};

// The process at the other end, where it is one of the same user; else 0.
pid_t process_at(int socket);

}  // namespace mws
