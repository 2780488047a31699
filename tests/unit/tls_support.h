// What the tests of TLS share: a server's session that somebody has established, and its client,
// whose bytes on the wire the test has in its hands. All on one thread.
#pragma once
#include <fcntl.h>
#include <gtest/gtest.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "src/engine/tls_transport.h"

namespace mws::test {

struct TlsFree {
  void operator()(SSL* it) const { SSL_free(it); }
  void operator()(SSL_CTX* it) const { SSL_CTX_free(it); }
  void operator()(SSL_SESSION* it) const { SSL_SESSION_free(it); }
  void operator()(EVP_PKEY* it) const { EVP_PKEY_free(it); }
  void operator()(EVP_PKEY_CTX* it) const { EVP_PKEY_CTX_free(it); }
  void operator()(X509* it) const { X509_free(it); }
};
template <class T>
using TlsPointer = std::unique_ptr<T, TlsFree>;

// With a certificate of its own making, for this process.
inline SSL_CTX* server_context() {
  static const TlsPointer<SSL_CTX> context = [] {
    TlsPointer<EVP_PKEY_CTX> maker(EVP_PKEY_CTX_new_id(EVP_PKEY_EC, nullptr));
    EVP_PKEY* made = nullptr;
    EXPECT_EQ(EVP_PKEY_keygen_init(maker.get()), 1);
    EXPECT_EQ(EVP_PKEY_CTX_set_ec_paramgen_curve_nid(maker.get(), NID_X9_62_prime256v1), 1);
    EXPECT_EQ(EVP_PKEY_keygen(maker.get(), &made), 1);
    TlsPointer<EVP_PKEY> key(made);
    TlsPointer<X509> certificate(X509_new());
    X509* x = certificate.get();
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -86400);
    X509_gmtime_adj(X509_getm_notAfter(x), 86400);
    auto* name = reinterpret_cast<const unsigned char*>("localhost");
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, name, -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    X509_set_pubkey(x, key.get());
    EXPECT_GT(X509_sign(x, key.get(), EVP_sha256()), 0);
    TlsPointer<SSL_CTX> made_context(SSL_CTX_new(TLS_server_method()));
    EXPECT_EQ(SSL_CTX_use_certificate(made_context.get(), x), 1);
    EXPECT_EQ(SSL_CTX_use_PrivateKey(made_context.get(), key.get()), 1);
    auto* id = reinterpret_cast<const unsigned char*>("test");
    EXPECT_EQ(SSL_CTX_set_session_id_context(made_context.get(), id, 4), 1);
    return made_context;
  }();
  return context.get();
}

inline SSL_CTX* client_context() {
  static const TlsPointer<SSL_CTX> context(SSL_CTX_new(TLS_client_method()));
  return context.get();
}

inline std::string take_all(BIO* bio) {
  std::string bytes(BIO_ctrl_pending(bio), 0);
  if (!bytes.empty()) {
    EXPECT_EQ(BIO_read(bio, bytes.data(), int(bytes.size())), int(bytes.size()));
  }
  return bytes;
}

inline void give(BIO* bio, std::string_view bytes) {
  if (bytes.empty()) return;
  EXPECT_EQ(BIO_write(bio, bytes.data(), int(bytes.size())), int(bytes.size()));
}

// Joins what is evaluated from left to right, as the order of records matters.
inline std::string in_order(std::initializer_list<std::string> pieces) {
  std::string all;
  for (const std::string& each : pieces) all += each;
  return all;
}

// Both ends over memory, the handshake done; the server's as its first owner has it.
class TlsPair {
 public:
  explicit TlsPair(int version, std::function<void(SSL* server, SSL* client)> configure = {})
      : server(SSL_new(server_context())), client(SSL_new(client_context())) {
    for (SSL* each : {server.get(), client.get()}) {
      SSL_set_bio(each, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
      SSL_set_min_proto_version(each, version);
      SSL_set_max_proto_version(each, version);
    }
    SSL_set_accept_state(server.get());
    SSL_set_connect_state(client.get());
    SSL_set_app_data(server.get(), this);
    if (configure) configure(server.get(), client.get());
    for (int i = 0; i < 10 && !(SSL_is_init_finished(server.get()) && to_client().empty()); i++) {
      SSL_do_handshake(client.get());
      give(SSL_get_rbio(server.get()), wire());
      SSL_do_handshake(server.get());
      client_takes(take_all(SSL_get_wbio(server.get())));
    }
    EXPECT_TRUE(SSL_is_init_finished(server.get()) && SSL_is_init_finished(client.get()));
    EXPECT_EQ(SSL_version(server.get()), version);
    ERR_clear_error();
  }

  ~TlsPair() {
    // A session that was not closed could not be resumed.
    SSL_set_shutdown(client.get(), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  }
  TlsPair(const TlsPair&) = delete;

  // What the client has to send.
  std::string wire() { return take_all(SSL_get_wbio(client.get())); }
  // Records with the client's bytes.
  std::string sealed(std::string_view bytes) {
    EXPECT_EQ(SSL_write(client.get(), bytes.data(), int(bytes.size())), int(bytes.size()));
    return wire();
  }
  std::string close_notify() {
    SSL_shutdown(client.get());
    return wire();
  }
  // TLS 1.3; asking the server to do the same or not.
  std::string key_updates(int count, bool asks) {
    for (int i = 0; i < count; i++) {
      int kind = asks ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED;
      EXPECT_EQ(SSL_key_update(client.get(), kind), 1);
      EXPECT_EQ(SSL_do_handshake(client.get()), 1);
    }
    return wire();
  }
  void client_takes(std::string_view bytes) {
    give(SSL_get_rbio(client.get()), bytes);
    char into[16384];
    ERR_clear_error();
    int size;
    while ((size = SSL_read(client.get(), into, sizeof into)) > 0)
      received.append(into, size_t(size));
    client_error = SSL_get_error(client.get(), size);
    client_reason = ERR_GET_REASON(ERR_peek_last_error());
    ERR_clear_error();
  }

  TlsPointer<SSL> server, client;
  std::string received;                                       // by the client
  int client_error = SSL_ERROR_WANT_READ, client_reason = 0;  // of its last read

 private:
  std::string to_client() {
    std::string bytes = take_all(SSL_get_wbio(server.get()));
    client_takes(bytes);
    return bytes;
  }
};

// A pair whose server has been handed to a transport over one end of a socket pair.
class TlsConnection {
 public:
  explicit TlsConnection(int version, std::string_view received = "", int type = SOCK_STREAM)
      : TlsConnection(std::make_unique<TlsPair>(version), received, type) {}
  explicit TlsConnection(std::unique_ptr<TlsPair> established, std::string_view received = "",
                         int type = SOCK_STREAM, bool client_closed = false)
      : pair(std::move(established)) {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends), 0);
    far = ends[1];
    transport = std::make_unique<TlsTransport>(ends[0], pair->server.get());
    pair->server.reset();
    transport->take_over({received.begin(), received.end()}, client_closed);
  }
  ~TlsConnection() {
    if (far >= 0) close(far);
  }
  TlsConnection(const TlsConnection&) = delete;

  // --- The client ---

  void put(std::string_view wire) {
    ASSERT_EQ(::send(far, wire.data(), wire.size(), MSG_DONTWAIT | MSG_NOSIGNAL),
              ssize_t(wire.size()));
  }
  void put_sealed(std::string_view bytes) { put(pair->sealed(bytes)); }
  void end() { EXPECT_EQ(shutdown(far, SHUT_WR), 0); }
  void hang_up() { close(std::exchange(far, -1)); }
  // Reads from its socket, at most as many bytes as said.
  size_t client_reads(size_t most = size_t(-1)) {
    char bytes[65536];
    size_t all = 0;
    while (all < most) {
      ssize_t size = recv(far, bytes, std::min(most - all, sizeof bytes), MSG_DONTWAIT);
      if (size == 0) told_end = true;
      if (size <= 0) break;
      pair->client_takes({bytes, size_t(size)});
      all += size_t(size);
    }
    return all;
  }

  // --- The server ---

  IoResult read(size_t room = 65536) {
    std::vector<uint8_t> into(room);
    IoResult result = transport->read(into);
    if (result.kind == IoResult::done) {
      EXPECT_TRUE(result.size || result.read_on);
      EXPECT_LE(result.size, room);
    }
    got.append(into.begin(), into.begin() + ptrdiff_t(result.size));
    return result;
  }
  bool readable() const {
    pollfd descriptor = {transport->descriptor(), POLLIN, 0};
    return poll(&descriptor, 1, 0) == 1;
  }
  // As a loop does: on while it is told to or the descriptor is readable. The last result.
  IoResult read_all(size_t room = 65536) {
    for (int i = 0; i < 1'000'000; i++) {
      IoResult result = read(room);
      if (result.kind == IoResult::end || result.kind == IoResult::failed) return result;
      if (!result.read_on && !readable()) return result;
    }
    ADD_FAILURE() << "it reads without end";
    return {IoResult::failed};
  }
  IoResult write(std::vector<std::string> pieces) {
    std::vector<iovec> all;
    for (std::string& piece : pieces) all.push_back({piece.data(), piece.size()});
    return transport->write(all);
  }
  // So that the socket is soon full.
  void narrow() {
    int bytes = 1;  // as few as the kernel allows
    EXPECT_EQ(setsockopt(transport->descriptor(), SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes), 0);
  }

  std::unique_ptr<TlsPair> pair;
  int far = -1;
  std::unique_ptr<TlsTransport> transport;
  std::string got;        // by the server
  bool told_end = false;  // the client read the end of the TCP stream
};

inline const auto kTlsVersions = testing::Values(TLS1_2_VERSION, TLS1_3_VERSION);
inline std::string tls_version_name(const testing::TestParamInfo<int>& version) {
  return version.param == TLS1_2_VERSION ? "Tls12" : "Tls13";
}

inline std::string random_bytes(std::mt19937& random, size_t size) {
  std::string bytes(size, 0);
  for (char& each : bytes) each = char(random());
  return bytes;
}

}  // namespace mws::test
