// The client's end of a connection on the loopback interface, plain or TLS. receive(), send() and
// flush() never block; the constructor and the others wait, at most kWait_ms for each step. What
// goes wrong ends the program. One thread.
#pragma once

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "bench/gathering_bio.h"

namespace bench {

constexpr int kWait_ms = 20000;

[[noreturn, gnu::format(printf, 1, 2)]] inline void fail(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fprintf(stderr, "load: ");
  vfprintf(stderr, format, arguments);
  fprintf(stderr, "\n");
  ERR_print_errors_fp(stderr);
  exit(1);
}

class Link {
 public:
  // Connects; with a TLS context, shakes hands. NUMBER counts the connections that are open at a
  // time: one address has ports for 20,000.
  Link(int port, size_t number, SSL_CTX* context) : descriptor_(dial(port, number)) {
    if (context) shake_hands(context);
  }

  Link(Link&& other) noexcept
      : descriptor_(std::exchange(other.descriptor_, -1)),
        full_(other.full_),
        records_(std::move(other.records_)),
        tls_(std::move(other.tls_)) {}

  ~Link() {
    if (descriptor_ >= 0) close(descriptor_);
  }

  int descriptor() const { return descriptor_; }

  // The TLS version and cipher; "none" for a plain connection.
  std::string cipher() const {
    if (!tls_) return "none";
    return std::string(SSL_get_version(tls_.get())) + ":" + SSL_get_cipher_name(tls_.get());
  }

  // As recv(2), -1 for nothing there; with TLS all records that one look at the socket gives.
  ssize_t receive(char* bytes, size_t size) {
    if (tls_) return receive_records(bytes, size);
    ssize_t had = recv(descriptor_, bytes, size, MSG_DONTWAIT);
    if (had < 0 && errno != EAGAIN) fail("receive: %s", strerror(errno));
    return had;
  }

  // How many bytes were taken. Unless it is full() thereafter, all.
  size_t send(const char* bytes, size_t size) {
    if (full_) return 0;
    if (!tls_) return send_raw(bytes, size);
    if (SSL_write(tls_.get(), bytes, int(size)) != int(size)) fail("SSL_write");
    flush();
    return size;
  }

  // Whether sending has to wait for EPOLLOUT, and then for flush().
  bool full() const { return full_; }

  void flush() {
    full_ = false;
    if (records_ && !records_->empty())
      records_->erase(0, send_raw(records_->data(), records_->size()));
  }

  void send_all(std::string_view bytes) {
    while (!bytes.empty() || full_) {
      bytes.remove_prefix(send(bytes.data(), bytes.size()));
      if (!full_) continue;
      await(POLLOUT);
      flush();
    }
  }

  void receive_all(char* bytes, size_t size) {
    for (size_t had = 0; had < size;) {
      ssize_t more = receive(bytes + had, size - had);
      if (more == 0) fail("connection lost");
      if (more < 0) await(POLLIN);
      if (more > 0) had += size_t(more);
    }
  }

  // Ends with a TCP reset and no word of TLS.
  void reset() {
    linger at_once{1, 0};
    setsockopt(descriptor_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(std::exchange(descriptor_, -1));
  }

 private:
  struct FreeSsl {
    void operator()(SSL* ssl) const { SSL_free(ssl); }
  };

  static int dial(int port, size_t number) {
    int descriptor = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    if (descriptor < 0) fail("connection %zu: %s", number, strerror(errno));
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(uint16_t(port));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (number >= 20000) {  // more than one address has ports for
      sockaddr_in from{};
      from.sin_family = AF_INET;
      from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + uint32_t(number / 20000));
      // Or nobody else gets a port that one of these has, at whatever address.
      setsockopt(descriptor, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
      if (bind(descriptor, reinterpret_cast<sockaddr*>(&from), sizeof from)) fail("bind");
    }
    if (connect(descriptor, reinterpret_cast<sockaddr*>(&to), sizeof to))
      fail("connection %zu: %s", number, strerror(errno));
    return descriptor;
  }

  void shake_hands(SSL_CTX* context) {
    tls_.reset(SSL_new(context));
    records_ = std::make_unique<std::string>();
    BIO* socket = BIO_new_socket(descriptor_, BIO_NOCLOSE);
    BIO_socket_nbio(descriptor_, 1);
    SSL_set_bio(tls_.get(), socket, make_gathering_bio(records_.get()));
    for (;;) {
      int result = SSL_connect(tls_.get());
      for (flush(); full_; flush()) await(POLLOUT);
      if (result == 1) return;
      if (SSL_get_error(tls_.get(), result) != SSL_ERROR_WANT_READ) fail("TLS handshake");
      await(POLLIN);
    }
  }

  ssize_t receive_records(char* bytes, size_t size) {
    size_t had = 0;
    do {
      int count = SSL_read(tls_.get(), bytes + had, int(size - had));
      if (count > 0) {
        had += size_t(count);
        continue;
      }
      int error = SSL_get_error(tls_.get(), count);
      if (had) break;
      if (error == SSL_ERROR_WANT_READ) return -1;
      if (error == SSL_ERROR_ZERO_RETURN) return 0;
      fail("SSL_read: %s", strerror(errno));
    } while (had < size && SSL_has_pending(tls_.get()));
    return ssize_t(had);
  }

  size_t send_raw(const char* bytes, size_t size) {
    ssize_t sent = ::send(descriptor_, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno != EAGAIN) fail("send: %s", strerror(errno));
    size_t count = sent > 0 ? size_t(sent) : 0;
    full_ = count < size;
    return count;
  }

  void await(short events) {
    pollfd wanted{descriptor_, events, 0};
    if (poll(&wanted, 1, kWait_ms) != 1) fail("nothing happened for %d ms", kWait_ms);
  }

  int descriptor_;
  bool full_ = false;
  std::unique_ptr<std::string> records_;  // not sent yet; the BIO of tls_ has its address
  std::unique_ptr<SSL, FreeSsl> tls_;
};

}  // namespace bench
