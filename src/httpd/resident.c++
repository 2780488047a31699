#include "src/httpd/resident.h"

#include <apr_buckets.h>
#include <apr_portable.h>
#include <fcntl.h>
#include <http_core.h>
#include <unistd.h>
#include <util_filter.h>

#include <algorithm>
#include <cstring>

#include "src/httpd/admission.h"
#include "src/httpd/capacity.h"
#include "src/httpd/children.h"
#include "src/httpd/detach.h"
#include "src/httpd/lifecycle.h"

namespace mws {

namespace {

// Bytes of one pass down the chain: below what makes httpd's core filter block.
constexpr size_t kPassBytes = 32 * 1024;

class FilterTransport final : private Slot,
                              private ResidentSlot,
                              private GuestSlot,
                              public Transport {
 public:
  // Owns the descriptor from the moment it exists: a duplicate to poll, as the MPM closes its own
  // when the child has to stop at once.
  FilterTransport(const OpenCounts::Newcomer& newcomer, conn_rec* c, int descriptor)
      : GuestSlot(newcomer),
        c_(c),
        descriptor_(descriptor),
        brigade_(apr_brigade_create(c->pool, c->bucket_alloc)) {}
  ~FilterTransport() override { close(descriptor_); }

  int descriptor() const override { return descriptor_; }
  bool may_hold_bytes() const override { return true; }
  Mooring mooring() const override { return Mooring::resident; }
  IoResult read(MutableBytes into) override;
  IoResult write(std::span<const iovec> pieces) override;
  // httpd ends the stream or connection when the handler returns, and lingers by itself.
  bool finish_writing() override { return false; }

 private:
  bool pass(size_t size);
  void push();
  void restore_socket();

  conn_rec* c_;
  int descriptor_;
  apr_bucket_brigade* brigade_;
  bool ended_ = false;  // the end of the stream that every HTTP/2 request starts with was read
};

// Puts a duplicate into httpd's socket if the MPM has closed it, so that the client can still be
// told that the server goes away. The MPM does not look at the socket again before the thread is
// done.
void FilterTransport::restore_socket() {
  if (c_->master) return;
  apr_socket_t* socket = ap_get_conn_socket(c_);
  apr_os_sock_t descriptor;
  if (apr_os_sock_get(&descriptor, socket) == APR_SUCCESS && descriptor >= 0) return;
  descriptor = fcntl(descriptor_, F_DUPFD_CLOEXEC, 0);
  if (descriptor >= 0) apr_os_sock_put(&socket, &descriptor, c_->pool);
}

IoResult FilterTransport::read(MutableBytes into) {
  restore_socket();
  apr_status_t rv = ap_get_brigade(c_->input_filters, brigade_, AP_MODE_READBYTES,
                                   APR_NONBLOCK_READ, apr_off_t(into.size()));
  if (APR_STATUS_IS_EAGAIN(rv)) return {IoResult::again};
  if (APR_STATUS_IS_EOF(rv)) return {IoResult::end};
  if (rv != APR_SUCCESS) return {IoResult::failed};
  bool end = false;
  for (apr_bucket* each = APR_BRIGADE_FIRST(brigade_); each != APR_BRIGADE_SENTINEL(brigade_);
       each = APR_BUCKET_NEXT(each))
    end |= APR_BUCKET_IS_EOS(each);
  apr_size_t size = into.size();
  rv = apr_brigade_flatten(brigade_, reinterpret_cast<char*>(into.data()), &size);
  apr_brigade_cleanup(brigade_);
  if (rv != APR_SUCCESS) return {IoResult::failed};
  if (size) return {IoResult::done, size, true};
  if (!end) return {IoResult::again};
  // RFC 8441 turned into HTTP/1.1 by mod_http2: the request's own end comes first.
  if (c_->master && !ended_) {
    ended_ = true;
    return read(into);
  }
  return {IoResult::end};
}

IoResult FilterTransport::write(std::span<const iovec> pieces) {
  if (c_->aborted) return {IoResult::failed};
  restore_socket();
  bool waited = unsent_ > 0;
  if (waited) push();
  if (unsent_) return {c_->aborted ? IoResult::failed : IoResult::again};
  size_t taken = 0, size = 0;
  for (const iovec& piece : pieces) {
    auto* at = static_cast<const char*>(piece.iov_base);
    for (size_t left = piece.iov_len; left && !unsent_;) {
      size_t part = std::min(left, kPassBytes - size);
      APR_BRIGADE_INSERT_TAIL(brigade_, apr_bucket_transient_create(at, part, c_->bucket_alloc));
      at += part;
      left -= part;
      taken += part;
      size += part;
      if (size < kPassBytes) continue;
      if (!pass(size)) return {IoResult::failed};
      size = 0;
    }
  }
  if (size && !pass(size)) return {IoResult::failed};
  return {taken || waited ? IoResult::done : IoResult::again, taken};
}

// Passes on what the brigade holds, of that size.
bool FilterTransport::pass(size_t size) {
  apr_status_t rv = ap_pass_brigade(c_->output_filters, brigade_);
  apr_brigade_cleanup(brigade_);
  unsent_ = size;  // at most
  push();
  return rv == APR_SUCCESS && !c_->aborted;
}

// Lets httpd's core filter write what it holds, as far as that goes without waiting. A FLUSH bucket
// would wait, as an HTTP/2 stream does.
void FilterTransport::push() {
  if (!c_->master) {
    ap_filter_t* last = c_->output_filters;
    while (last->next) last = last->next;
    if (!strcmp(last->frec->name, "core")) last->frec->filter_func.out_func(last, nullptr);
    if (c_->data_in_output_filters) return;
  }
  unsent_ = 0;
}

// The descriptor to wait for: the client's socket, or what mod_http2 signals a stream's input by.
int descriptor_of(conn_rec* c) {
  apr_os_sock_t socket;
  if (!c->master)
    return apr_os_sock_get(&socket, ap_get_conn_socket(c)) == APR_SUCCESS ? socket : -1;
#if AP_MODULE_MAGIC_AT_LEAST(20120211, 129)
  apr_pollfd_t poll{};
  if (ap_get_pollfd_from_conn(c, &poll, nullptr) != APR_SUCCESS) return -1;
  if (poll.desc_type == APR_POLL_SOCKET)
    return apr_os_sock_get(&socket, poll.desc.s) == APR_SUCCESS ? socket : -1;
  apr_os_file_t file;
  return apr_os_file_get(&file, poll.desc.f) == APR_SUCCESS ? file : -1;
#else
  return -1;
#endif
}

}  // namespace

std::unique_ptr<Transport> resident_transport(request_rec* r,
                                              const OpenCounts::Newcomer& newcomer) {
  int descriptor = duplicate_descriptor(descriptor_of(r->connection));
  try {
    return std::make_unique<FilterTransport>(newcomer, r->connection, descriptor);
  } catch (...) {
    close(descriptor);
    throw;
  }
}

void prepare_residence(request_rec* r) {
  conn_rec* c = r->connection;
  // It would cut the connection when the "body" takes longer than RequestReadTimeout allows.
  ap_remove_input_filter_byhandle(c->input_filters, "reqtimeout");
  // It holds back what is not flushed.
  ap_remove_output_filter_byhandle(c->output_filters, "SSL/TLS Coalescing Filter");
  r->output_filters = r->proto_output_filters = c->output_filters;
  r->input_filters = r->proto_input_filters = c->input_filters;
  c->keepalive = AP_CONN_CLOSE;
  keep_tls_reading(c);
}

}  // namespace mws
