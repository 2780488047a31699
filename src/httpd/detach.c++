#include "src/httpd/detach.h"

#include <apr_buckets.h>
#include <apr_portable.h>
#include <http_core.h>
#include <util_filter.h>

#include <cstring>
#include <vector>

#include "src/engine/socket_transport.h"
#include "src/httpd/lifecycle.h"
#include "src/httpd/log.h"

namespace mws {

namespace {

struct Hold {
  std::unique_ptr<Connection> connection;
  std::vector<uint8_t> early;

  ~Hold() {
    if (!connection) return;
    PreforkSignalsHeld held;
    try {
      child_engine().next_loop().any_thread_adopt(std::move(connection), std::move(early));
    } catch (const std::bad_alloc&) {
      server_log().write(LogLevel::error, "no memory for another WebSocket");
    }
  }
};

Hold* hold_of(conn_rec* c) {
  return static_cast<Hold*>(ap_get_module_config(c->conn_config, &websocket_module));
}

// Filters that are done with a plain connection when the request is: httpd's own, and those that
// only watch or limit what HTTP does.
bool is_harmless(const char* filter) {
  for (const char* name : {"core_in", "core", "reqtimeout", "log_input_output", "remoteip_input"})
    if (!strcmp(filter, name)) return true;
  return false;
}

const char* first_unknown(ap_filter_t* filter) {
  for (; filter; filter = filter->next)
    if (!is_harmless(filter->frec->name)) return filter->frec->name;
  return nullptr;
}

// What httpd has read from the client and not used: bytes behind the request's head.
std::vector<uint8_t> read_early(conn_rec* c) {
  constexpr apr_off_t kAtOnce = 1 << 20;  // more than httpd reads ahead
  std::vector<uint8_t> early;
  apr_bucket_brigade* brigade = apr_brigade_create(c->pool, c->bucket_alloc);
  while (early.size() < size_t(kAtOnce)) {
    apr_status_t rv =
        ap_get_brigade(c->input_filters, brigade, AP_MODE_READBYTES, APR_NONBLOCK_READ, kAtOnce);
    apr_off_t size = 0;
    if (rv != APR_SUCCESS || apr_brigade_length(brigade, 1, &size) != APR_SUCCESS || size <= 0)
      break;
    size_t before = early.size();
    early.resize(before + size_t(size));
    apr_size_t taken = apr_size_t(size);
    apr_brigade_flatten(brigade, reinterpret_cast<char*>(&early[before]), &taken);
    apr_brigade_cleanup(brigade);
  }
  apr_brigade_destroy(brigade);
  return early;
}

}  // namespace

int place_hold(conn_rec* c, void*) {
  if (!c->master) ap_set_module_config(c->conn_config, &websocket_module, pool_new<Hold>(c->pool));
  return DECLINED;
}

const char* must_stay(request_rec* r) {
  conn_rec* c = r->connection;
  if (c->master) return "HTTP/2";
  if (!hold_of(c)) return "no hold";
  if (const char* filter = first_unknown(c->input_filters)) return filter;
  return first_unknown(c->output_filters);
}

std::unique_ptr<Transport> detached_transport(conn_rec* c) {
  apr_os_sock_t descriptor = -1;
  apr_os_sock_get(&descriptor, ap_get_conn_socket(c));
  return std::make_unique<SocketTransport>(duplicate_descriptor(descriptor));
}

void detach(request_rec* r, std::unique_ptr<Connection> connection) {
  conn_rec* c = r->connection;
  Hold& hold = *hold_of(c);
  hold.early = read_early(c);
  hold.connection = std::move(connection);
  // Makes every MPM close its own descriptor without a shutdown of the socket and without
  // lingering.
  c->aborted = 1;
  c->keepalive = AP_CONN_CLOSE;
}

}  // namespace mws
