#include "src/httpd/control.h"

#include <openssl/rand.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <cstring>

#include "src/httpd/config.h"
#include "src/httpd/control_socket.h"

namespace mws {

namespace {

// The name changes with the layout; see children.c++.
constexpr const char* kKey = "mod_websocket-control-1";

ControlKeys* keys;

}  // namespace

void make_control(server_rec* s) {
  if (!server_config().shows_status) return;
  apr_pool_t* for_ever = s->process->pool;
  void* known = nullptr;
  apr_pool_userdata_get(&known, kKey, for_ever);
  keys = static_cast<ControlKeys*>(known);
  if (keys) return;
  void* shared =
      mmap(nullptr, sizeof(ControlKeys), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return;
  if (RAND_bytes(static_cast<unsigned char*>(shared), sizeof(ControlKeys)) != 1) {
    munmap(shared, sizeof(ControlKeys));
    return;
  }
  keys = static_cast<ControlKeys*>(shared);
  apr_pool_userdata_set(keys, kKey, nullptr, for_ever);  // it copies the key
}

const ControlKeys* control_keys() { return keys; }

// The 1 changes with what is said through the socket: after a graceful restart with a newer module
// there may be children of both.
ControlAddress::ControlAddress(pid_t child) {
  named.sun_family = AF_UNIX;
  char* name = named.sun_path + 1;  // behind a zero byte: abstract
  int length = snprintf(name, sizeof named.sun_path - 1, "mod_websocket-1-%016llx-%ld",
                        static_cast<unsigned long long>(keys->name), long(child));
  size = socklen_t(offsetof(sockaddr_un, sun_path) + 1 + size_t(length));
}

pid_t process_at(int socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) || peer.uid != geteuid()) return 0;
  return peer.pid;
}

}  // namespace mws
