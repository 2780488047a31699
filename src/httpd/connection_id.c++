#include "src/httpd/connection_id.h"

#include <sys/mman.h>

#include <atomic>
#include <new>

namespace mws {

namespace {

// The name changes with what lies there.
constexpr const char* kKey = "mod_websocket-connection-id-1";

using Count = std::atomic<uint64_t>;
static_assert(Count::is_always_lock_free);  // it is shared by processes

Count own;  // where there is no shared memory: unique in this process only
Count* next = &own;

}  // namespace

// The count begins with the microseconds since 1970, and connections come more slowly than those go
// by: after a reboot it begins behind all that were given before.
void make_connection_ids(server_rec* s) {
  apr_pool_t* for_ever = s->process->pool;
  void* known = nullptr;
  apr_pool_userdata_get(&known, kKey, for_ever);
  if (known) {
    next = static_cast<Count*>(known);
    return;
  }
  own = uint64_t(apr_time_now());
  void* shared =
      mmap(nullptr, sizeof(Count), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return;
  next = new (shared) Count(own.load());
  apr_pool_userdata_set(next, kKey, nullptr, for_ever);  // it copies the key
}

uint64_t next_connection_id() { return (*next)++; }

}  // namespace mws
