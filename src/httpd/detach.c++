#include "src/httpd/detach.h"

#include <apr_buckets.h>
#include <apr_portable.h>
#include <apr_strings.h>
#include <http_core.h>
#include <unistd.h>
#include <util_filter.h>

#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <vector>

#include "src/engine/socket_transport.h"
#include "src/engine/tls_transport.h"
#include "src/httpd/admission.h"
#include "src/httpd/capacity.h"
#include "src/httpd/children.h"
#include "src/httpd/connection_id.h"
#include "src/httpd/lifecycle.h"

namespace mws {

namespace {

struct Hold {
  SSL* session = nullptr;       // mod_ssl's, if the connection is over TLS
  TlsTransport* tls = nullptr;  // the transport of connection, if that is over TLS
  std::unique_ptr<Connection> connection;
  std::vector<uint8_t> early, early_ciphertext;
  bool client_closed = false;  // its close_notify has been read
  conn_rec* of = nullptr;      // from detach() on
  const char* id = "";

  ~Hold() {
    if (!connection) return;
    PreforkSignalsHeld held;
    if (tls) tls->take_over(std::move(early_ciphertext), client_closed);
    try {
      child_engine().next_loop().any_thread_adopt(std::move(connection), std::move(early));
    } catch (const std::bad_alloc&) {
      ap_log_cerror(APLOG_MARK, APLOG_ERR, 0, of, "WS206: no memory to serve connection %s", id);
    }
  }
};

// The slots are taken first, so that without them there is no transport and the descriptor is the
// caller's.
template <class T>
struct WithSlot final : private Slot, private GuestSlot, public T {
  template <class... Arguments>
  explicit WithSlot(const OpenCounts::Newcomer& newcomer, Arguments... arguments)
      : GuestSlot(newcomer), T(arguments...) {}
};

Hold* hold_of(conn_rec* c) {
  return static_cast<Hold*>(ap_get_module_config(c->conn_config, &websocket_module));
}

// httpd lowers the letters of filters' names when they are registered.
bool is_one_of(const char* name, std::initializer_list<const char*> names) {
  return std::any_of(names.begin(), names.end(),
                     [&](const char* each) { return !strcmp(name, each); });
}

// Filters that are done with a connection when the request is: httpd's own, mod_ssl's if its
// session can be taken over, and those that only watch or limit what HTTP does.
bool is_harmless(const char* filter, bool tls) {
  if (is_one_of(filter, {"ssl/tls filter", "ssl/tls buffer", "ssl/tls coalescing filter"}))
    return tls;
  return is_one_of(filter, {"core_in", "core", "reqtimeout", "log_input_output", "remoteip_input"});
}

const char* first_unknown(ap_filter_t* filter, bool tls) {
  for (; filter; filter = filter->next)
    if (!is_harmless(filter->frec->name, tls)) return filter->frec->name;
  return nullptr;
}

// Adds the brigade's bytes, as far as they are in memory.
void append_held(apr_bucket_brigade* brigade, std::vector<uint8_t>& to) {
  for (apr_bucket* each = APR_BRIGADE_FIRST(brigade);
       each != APR_BRIGADE_SENTINEL(brigade) && !APR_BUCKET_IS_SOCKET(each);
       each = APR_BUCKET_NEXT(each)) {
    const char* bytes;
    apr_size_t size;
    if (apr_bucket_read(each, &bytes, &size, APR_NONBLOCK_READ) == APR_SUCCESS)
      to.insert(to.end(), bytes, bytes + size);
  }
}

// Takes what httpd has read from the client and not used; the rest is still in the socket. On TLS
// mod_ssl may hold bytes that it has decrypted, and httpd's own filter, the last one, those that
// mod_ssl has not asked for.
void take_early(conn_rec* c, Hold& hold) {
  apr_bucket_brigade* brigade = apr_brigade_create(c->pool, c->bucket_alloc);
  if (hold.tls) {
    constexpr apr_off_t kMost = 1 << 20;  // mod_ssl decides, and gives less
    if (ap_get_brigade(c->input_filters, brigade, AP_MODE_READBYTES, APR_NONBLOCK_READ, kMost) ==
        APR_SUCCESS)
      append_held(brigade, hold.early);
    apr_brigade_cleanup(brigade);
    hold.client_closed = SSL_get_shutdown(hold.session) & SSL_RECEIVED_SHUTDOWN;
  }
  ap_filter_t* last = c->input_filters;
  while (last->next) last = last->next;
  if (ap_get_brigade(last, brigade, AP_MODE_EXHAUSTIVE, APR_NONBLOCK_READ, 0) == APR_SUCCESS)
    append_held(brigade, hold.tls ? hold.early_ciphertext : hold.early);
  apr_brigade_destroy(brigade);
}

}  // namespace

int place_hold(conn_rec* c, void*) {
  if (!c->master && child_serves())
    ap_set_module_config(c->conn_config, &websocket_module, pool_new<Hold>(c->pool));
  return DECLINED;
}

int remember_tls_session(conn_rec* c, SSL* session, int is_proxy) {
  Hold* hold = is_proxy || c->master ? nullptr : hold_of(c);
  if (hold) hold->session = session;
  return OK;
}

void keep_tls_reading(conn_rec* c) {
  Hold* hold = hold_of(c);
  if (hold && hold->session && TlsTransport::can_carry(hold->session))
    SSL_set_mode(hold->session, SSL_MODE_AUTO_RETRY);
}

const char* must_stay(request_rec* r) {
  conn_rec* c = r->connection;
  Hold* hold = hold_of(c);
  if (c->master) return "HTTP/2";
  if (!hold) return "its beginning was not seen";
  bool tls = hold->session != nullptr;
  if (tls && !TlsTransport::can_carry(hold->session)) return "mod_ssl uses another OpenSSL";
  if (tls && SSL_CTX_get_keylog_callback(SSL_get_SSL_CTX(hold->session)))
    return "mod_ssl logs keys (SSLKEYLOGFILE)";  // of updates too, and asks the connection for it
  if (const char* filter = first_unknown(c->input_filters, tls)) return filter;
  return first_unknown(c->output_filters, tls);
}

std::unique_ptr<Transport> detached_transport(conn_rec* c, const OpenCounts::Newcomer& newcomer) {
  apr_os_sock_t descriptor = -1;
  apr_os_sock_get(&descriptor, ap_get_conn_socket(c));
  descriptor = duplicate_descriptor(descriptor);
  Hold& hold = *hold_of(c);
  try {
    if (!hold.session) return std::make_unique<WithSlot<SocketTransport>>(newcomer, descriptor);
    auto transport = std::make_unique<WithSlot<TlsTransport>>(newcomer, descriptor, hold.session);
    hold.tls = transport.get();
    return transport;
  } catch (...) {
    close(descriptor);
    throw;
  }
}

void detach(request_rec* r, std::unique_ptr<Connection> connection) {
  conn_rec* c = r->connection;
  Hold& hold = *hold_of(c);
  take_early(c, hold);
  hold.of = c;
  hold.id = apr_pstrdup(c->pool, apr_table_get(r->notes, kIdNote));
  hold.connection = std::move(connection);
  // Makes every MPM close its own descriptor without a shutdown of the socket, without an alert of
  // TLS and without lingering.
  c->aborted = 1;
  c->keepalive = AP_CONN_CLOSE;
}

}  // namespace mws
