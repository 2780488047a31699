// A transport over a TLS session (OpenSSL) that somebody else has established on a socket.
//
// What OpenSSL writes is gathered, so that one write() is one system call, however many records it
// made; what the kernel does not take stays here (unsent()) and costs the session no retries.
#pragma once
#include <openssl/ssl.h>

#include <memory>
#include <vector>

#include "src/engine/transport.h"

namespace mws {

class TlsTransport : public Transport {
 public:
  // Whether the session belongs to the same OpenSSL as this code; nothing else here may be called
  // with one that does not.
  static bool can_carry(const SSL* session);

  // Shares the session and leaves it alone until take_over(). Owns the descriptor from the moment
  // it exists; throws std::bad_alloc before.
  TlsTransport(int descriptor, SSL* session);
  ~TlsTransport() override;
  TlsTransport(const TlsTransport&) = delete;
  TlsTransport& operator=(const TlsTransport&) = delete;

  // From here on the session reads and writes here, and nobody else uses it. received is what came
  // from the client and has not been through the session, client_closed that its close_notify has.
  // Any thread.
  void take_over(std::vector<uint8_t> received, bool client_closed) noexcept;

  int descriptor() const override { return descriptor_; }
  bool may_hold_bytes() const override { return holds_bytes(); }
  Mooring mooring() const override { return Mooring::tls; }
  // A stream that ends without close_notify has been cut short: it fails (RFC 8446 §6.1).
  IoResult read(MutableBytes into) override;
  IoResult write(std::span<const iovec> pieces) override;
  bool finish_writing() override;  // close_notify, then the end of the TCP stream

 private:
  struct Release {
    void operator()(SSL* session) const { SSL_free(session); }
    void operator()(BIO* bio) const { BIO_free(bio); }
  };
  static const BIO_METHOD* bio_method();
  static int bio_read(BIO* bio, char* into, int size);
  static int bio_write(BIO* bio, const char* from, int size);
  bool holds_bytes() const {
    return SSL_has_pending(session_.get()) || received_read_ < received_.size();
  }
  IoResult read_end();
  bool send_gathered(Bytes last);
  bool send_unsent();
  size_t send_now(std::span<const iovec> pieces);
  void keep(Bytes bytes);
  void shut_down_if_sent();

  int descriptor_;
  bool taken_over_ = false;
  bool finishing_ = false;    // close_notify was written
  bool failed_ = false;       // the socket, or the memory for what it did not take
  bool would_block_ = false;  // OpenSSL wanted more than has arrived
  bool last_ = false;         // what OpenSSL writes now ends this write
  std::unique_ptr<SSL, Release> session_;
  std::unique_ptr<BIO, Release> bio_;  // until take_over() gives it to the session
  std::vector<uint8_t> received_;      // to read before the socket
  size_t received_read_ = 0;
  std::vector<uint8_t> kept_;  // ciphertext that the kernel did not take
  size_t kept_sent_ = 0;
};

}  // namespace mws
