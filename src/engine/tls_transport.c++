#include "src/engine/tls_transport.h"

#include <openssl/err.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "src/base/thread.h"
#include "src/engine/socket_calls.h"
#include "src/engine/socket_transport.h"

namespace mws {

namespace {

constexpr size_t kRecord = SSL3_RT_MAX_PLAIN_LENGTH;
// Of what waits as ciphertext; only a client that asks for key updates without reading gets there.
constexpr size_t kMaxKept = 256 * 1024;

// What OpenSSL wrote and has not been sent. Used within one call of a transport: a thread has one.
struct Gathered {
  bool add(Bytes record);
  static constexpr size_t kBytes = 64 * 1024;
  uint8_t* bytes;
  size_t size;
};
FAST_THREAD_LOCAL Gathered gathered = {nullptr, 0};

// Frees it with the thread. Apart from it, as what has a destructor is slow to find.
struct GatheredEnd {
  ~GatheredEnd() { free(std::exchange(gathered.bytes, nullptr)); }
  void come() {}
};
thread_local GatheredEnd gathered_end;

bool Gathered::add(Bytes record) {
  if (!bytes) {
    bytes = static_cast<uint8_t*>(malloc(kBytes));
    gathered_end.come();
  }
  if (!bytes || size + record.size() > kBytes) return false;
  memcpy(bytes + size, record.data(), record.size());
  size += record.size();
  return true;
}

}  // namespace

bool TlsTransport::can_carry(const SSL* session) {
  const SSL_METHOD* method = SSL_CTX_get_ssl_method(SSL_get_SSL_CTX(session));
  return method == TLS_server_method() || method == TLS_method();
}

TlsTransport::TlsTransport(int descriptor, SSL* session)
    : descriptor_(descriptor), bio_(BIO_new(bio_method())) {
  if (!bio_) throw std::bad_alloc();
  BIO_set_data(bio_.get(), this);
  BIO_set_init(bio_.get(), 1);
  SSL_up_ref(session);
  session_.reset(session);
}

TlsTransport::~TlsTransport() {
  // A session that was not closed would be taken out of the server's cache.
  if (taken_over_) SSL_set_shutdown(session_.get(), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  session_.reset();
  close(descriptor_);
}

void TlsTransport::take_over(std::vector<uint8_t> received, bool client_closed) noexcept {
  SSL* session = session_.get();
  received_ = std::move(received);
  SSL_set_app_data(session, nullptr);  // the server's own, about to go
  BIO* bio = bio_.release();
  SSL_set_bio(session, bio, bio);
  SSL_set_shutdown(session, client_closed ? SSL_RECEIVED_SHUTDOWN : 0);
  SSL_set_mode(session, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                            SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  // One read ends behind a message of TLS's own, so that a client cannot hold the thread with them.
  SSL_clear_mode(session, SSL_MODE_AUTO_RETRY);
  SSL_set_options(session, SSL_OP_NO_RENEGOTIATION);
#ifdef SSL_OP_IGNORE_UNEXPECTED_EOF
  SSL_clear_options(session, SSL_OP_IGNORE_UNEXPECTED_EOF);
#endif
  SSL_set_read_ahead(session, 1);
  taken_over_ = true;
}

// --- Reading ---

IoResult TlsTransport::read(MutableBytes into) {
  if (finishing_) return read_end();
  size_t size = 0;
  int got = 1;
  would_block_ = false;
  BIO_clear_retry_flags(SSL_get_rbio(session_.get()));
  if (ERR_peek_error()) ERR_clear_error();  // of somebody else on this thread
  while (got > 0 && size < into.size() && (!size || holds_bytes())) {
    int room = int(std::min<size_t>(into.size() - size, INT_MAX));
    got = SSL_read(session_.get(), into.data() + size, room);
    if (got > 0) size += size_t(got);
  }
  // Reading may write: the answer to a key update.
  if (!send_gathered({})) return {IoResult::failed};
  if (got <= 0 && would_block_) return {size ? IoResult::done : IoResult::again, size};
  // Behind bytes, an end or an error shows again on the next read. Behind a message of TLS's own
  // there may be more, once others have had their turn.
  bool own_message = got <= 0 && BIO_should_retry(SSL_get_rbio(session_.get()));
  if (size || own_message) return {IoResult::done, size, got <= 0 || more_waits_ || holds_bytes()};
  bool closed = SSL_get_error(session_.get(), got) == SSL_ERROR_ZERO_RETURN;
  ERR_clear_error();
  return {closed ? IoResult::end : IoResult::failed};
}

// Behind close_notify only the end of the stream matters.
IoResult TlsTransport::read_end() {
  uint8_t ignored[4096];
  for (int rounds = 0; rounds < 16; rounds++) {
    IoResult got = read_socket(descriptor_, ignored);
    if (got.kind != IoResult::done) return got;
  }
  return {IoResult::done, 0, true};  // others have their turn
}

int TlsTransport::bio_read(BIO* bio, char* into, int size) {
  auto& self = *static_cast<TlsTransport*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  if (size_t left = self.received_.size() - self.received_read_) {
    left = std::min(left, size_t(size));
    memcpy(into, &self.received_[self.received_read_], left);
    self.received_read_ += left;
    if (self.received_read_ == self.received_.size()) self.received_ = {}, self.received_read_ = 0;
    self.more_waits_ = true;
    return int(left);
  }
  ssize_t got = receive_now(self.descriptor_, {reinterpret_cast<uint8_t*>(into), size_t(size)});
  self.more_waits_ = got == size;
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
    BIO_set_retry_read(bio);
    self.would_block_ = true;
  }
  return int(got);
}

// --- Writing ---

IoResult TlsTransport::write(std::span<const iovec> pieces) {
  size_t before = unsent_, all = 0, taken = 0;
  if (!send_unsent()) return {IoResult::failed};
  for (const iovec& piece : pieces) all += piece.iov_len;
  for (const iovec& piece : pieces) {
    auto* at = static_cast<const uint8_t*>(piece.iov_base);
    for (size_t left = piece.iov_len; left && !unsent_ && !failed_;) {
      size_t part = std::min(left, kRecord);
      last_ = taken + part == all;
      int wrote = SSL_write(session_.get(), at, int(part));
      if (wrote <= 0) {
        ERR_clear_error();
        failed_ = true;
        break;
      }
      at += wrote;
      left -= size_t(wrote);
      taken += size_t(wrote);
    }
  }
  last_ = false;
  if (!send_gathered({})) return {IoResult::failed};
  return {taken || unsent_ < before ? IoResult::done : IoResult::again, taken};
}

// OpenSSL has a record. It is always taken: the last one of a write goes out from where it is,
// behind what was gathered.
int TlsTransport::bio_write(BIO* bio, const char* from, int size) {
  auto& self = *static_cast<TlsTransport*>(BIO_get_data(bio));
  Bytes record(reinterpret_cast<const uint8_t*>(from), size_t(size));
  if (self.last_ || !gathered.add(record)) self.send_gathered(record);
  return size;
}

// False when the connection has failed.
bool TlsTransport::send_gathered(Bytes last) {
  iovec pieces[] = {{gathered.bytes, gathered.size},
                    {const_cast<uint8_t*>(last.data()), last.size()}};
  if (!gathered.size && last.empty()) return !failed_;
  size_t sent = unsent_ || failed_ ? 0 : send_now(pieces);
  for (const iovec& piece : pieces) {
    Bytes bytes(static_cast<const uint8_t*>(piece.iov_base), piece.iov_len);
    size_t skip = std::min(sent, bytes.size());
    sent -= skip;
    keep(bytes.subspan(skip));
  }
  gathered.size = 0;
  return !failed_;
}

void TlsTransport::keep(Bytes bytes) {
  if (bytes.empty() || failed_) return;
  try {
    if (kept_sent_ >= kept_.size() / 2) {
      kept_.erase(kept_.begin(), kept_.begin() + ptrdiff_t(kept_sent_));
      kept_sent_ = 0;
    }
    kept_.insert(kept_.end(), bytes.begin(), bytes.end());
  } catch (const std::bad_alloc&) {
    failed_ = true;
  }
  unsent_ = kept_.size() - kept_sent_;
  if (unsent_ > kMaxKept) failed_ = true;
}

bool TlsTransport::send_unsent() {
  if (!unsent_ || failed_) return !failed_;
  iovec rest = {&kept_[kept_sent_], unsent_};
  kept_sent_ += send_now({&rest, 1});
  unsent_ = kept_.size() - kept_sent_;
  if (!unsent_) kept_ = {}, kept_sent_ = 0;
  shut_down_if_sent();
  return !failed_;
}

size_t TlsTransport::send_now(std::span<const iovec> pieces) {
  if (!pieces.front().iov_len) pieces = pieces.subspan(1);
  ssize_t sent = mws::send_now(descriptor_, pieces);
  if (sent >= 0) return size_t(sent);
  failed_ = errno != EAGAIN && errno != EINTR && errno != ENOBUFS;
  return 0;
}

bool TlsTransport::finish_writing() {
  if (finishing_) return true;
  finishing_ = true;
  ERR_clear_error();
  SSL_shutdown(session_.get());
  ERR_clear_error();
  if (gathered.size) send_gathered({});
  shut_down_if_sent();
  return !failed_;
}

void TlsTransport::shut_down_if_sent() {
  if (finishing_ && !unsent_ && !failed_) shutdown(descriptor_, SHUT_WR);
}

// --- What OpenSSL calls ---

const BIO_METHOD* TlsTransport::bio_method() {
  static const BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "websocket");
    if (!made) throw std::bad_alloc();
    BIO_meth_set_read(made, bio_read);
    BIO_meth_set_write(made, bio_write);
    BIO_meth_set_ctrl(made, [](BIO*, int command, long, void*) -> long {
      return command == BIO_CTRL_FLUSH ? 1 : 0;
    });
    return made;
  }();
  return method;
}

}  // namespace mws
