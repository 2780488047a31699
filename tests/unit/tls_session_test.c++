// A transport over TLS: what TLS itself says, taking a session over, and a connection on it.
#include "src/engine/tls_transport.h"

#include <malloc.h>
#include <netinet/in.h>

#include "tests/unit/engine_support.h"
#include "tests/unit/tls_support.h"

#ifdef __SANITIZE_ADDRESS__
extern "C" size_t __sanitizer_get_current_allocated_bytes();
#endif

namespace mws {
namespace {

using namespace test;

class TlsSessionTest : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Versions, TlsSessionTest, kTlsVersions, tls_version_name);

// ---- What TLS itself does -----------------------------------------------------------------------

TEST(TlsTransportKeyUpdate, OfTheClientIsFollowedAndAnsweredIfAsked) {
  for (bool asks : {false, true}) {
    TlsConnection c(TLS1_3_VERSION);
    static int updated;  // messages that the client got
    updated = 0;
    SSL_set_msg_callback(c.pair->client.get(),
                         [](int writes, int, int type, const void* message, size_t, SSL*, void*) {
                           if (writes || type != SSL3_RT_HANDSHAKE) return;
                           updated += *static_cast<const uint8_t*>(message) == SSL3_MT_KEY_UPDATE;
                         });
    for (int i = 0; i < 3; i++) {
      c.put(c.pair->key_updates(1, asks));
      EXPECT_EQ(c.read_all().kind, IoResult::again);
      c.client_reads();
      c.put_sealed("a");
      EXPECT_EQ(c.read().kind, IoResult::done);
      EXPECT_EQ(c.write({"b"}).kind, IoResult::done);
      c.client_reads();
      // Its answer is there at the latest with what is written next (RFC 8446 §4.6.3).
      EXPECT_EQ(updated, asks ? i + 1 : 0);
    }
    EXPECT_EQ(c.got, "aaa");
    EXPECT_EQ(c.pair->received, "bbb");
  }
}

TEST(TlsTransportKeyUpdate, LeavesNoMessageUnreadBehindItWhateverTheModeOfTheSession) {
  for (bool retries : {false, true}) {
    auto pair = std::make_unique<TlsPair>(TLS1_3_VERSION);
    if (!retries) SSL_clear_mode(pair->server.get(), SSL_MODE_AUTO_RETRY);
    std::string wire = in_order({pair->sealed("a"), pair->key_updates(1, true), pair->sealed("b")});
    TlsConnection c(std::move(pair), wire);
    c.read_all();
    EXPECT_EQ(c.got, "ab");
  }
}

TEST(TlsTransportKeyUpdate, AnswersGoBehindWhatIsUnsent) {
  TlsConnection c(TLS1_3_VERSION);
  c.narrow();
  IoResult result = c.write({std::string(40'000, 'x')});
  ASSERT_GT(c.transport->unsent(), 0u);
  c.put(c.pair->key_updates(100, true));
  EXPECT_EQ(c.read_all().kind, IoResult::again);
  auto all_sent = [&] {
    for (c.client_reads(); c.transport->unsent(); c.client_reads())
      ASSERT_EQ(c.transport->write({}).kind, IoResult::done);
  };
  all_sent();
  ASSERT_EQ(c.write({"last"}).size, 4u);
  all_sent();
  EXPECT_EQ(c.pair->client_error, SSL_ERROR_WANT_READ) << c.pair->client_reason;
  EXPECT_EQ(c.pair->received.size(), result.size + 4);
  EXPECT_TRUE(c.pair->received.ends_with("xlast"));
}

TEST(TlsTransportKeyUpdate, WithoutEndAndUnreadFailsInBoundedMemory) {
  TlsConnection c(TLS1_3_VERSION);
  c.narrow();
  IoResult result{IoResult::again};
  for (int round = 0; round < 100 && result.kind == IoResult::again; round++) {
    c.put(c.pair->key_updates(500, true));
    result = c.read_all();
    ASSERT_LE(c.transport->unsent(), 400'000u);
  }
  EXPECT_EQ(result.kind, IoResult::failed);
}

size_t allocated_bytes() {
#ifdef __SANITIZE_ADDRESS__
  return __sanitizer_get_current_allocated_bytes();
#else
  struct mallinfo2 all = mallinfo2();
  return all.uordblks + all.hblkhd;
#endif
}

TEST(TlsTransportKeyUpdate, WithoutEndAndReadTooSlowlyToCatchUpStaysInBoundedMemory) {
  TlsConnection c(TLS1_3_VERSION);
  c.narrow();
  ASSERT_EQ(c.write({std::string(60'000, 'x')}).kind, IoResult::done);
  size_t before = allocated_bytes(), sent = 0;
  for (int round = 0; sent < 600'000; round++) {
    ASSERT_LT(round, 10'000);
    c.put(c.pair->key_updates(500, true));
    if (c.read_all().kind == IoResult::failed) return;  // as good
    for (size_t target = 20'000; c.transport->unsent() > target;) {
      size_t unsent = c.transport->unsent();
      c.client_reads();
      ASSERT_EQ(c.transport->write({}).kind, IoResult::done);
      sent += unsent - c.transport->unsent();
    }
    ASSERT_GT(c.transport->unsent(), 0u);
  }
  EXPECT_LT(allocated_bytes() - before, 500'000u);
}

TEST(TlsTransportKeyUpdate, OfOneConnectionDoNotReachTheClientOfAnother) {
  auto pair = std::make_unique<TlsPair>(TLS1_3_VERSION);
  std::string wire = pair->key_updates(16'000, true);
  TlsConnection unread(std::move(pair), wire);
  unread.narrow();
  EXPECT_EQ(unread.read_all().kind, IoResult::failed);
  TlsConnection other(TLS1_3_VERSION);
  EXPECT_EQ(other.write({"hello"}).kind, IoResult::done);
  other.client_reads();
  EXPECT_EQ(other.pair->received, "hello");
  EXPECT_EQ(other.pair->client_error, SSL_ERROR_WANT_READ);
}

TEST(TlsTransportRenegotiation, IsRefused) {
  TlsConnection c(std::make_unique<TlsPair>(TLS1_2_VERSION, []([[maybe_unused]] SSL* server, SSL*) {
#ifdef SSL_OP_ALLOW_CLIENT_RENEGOTIATION
    SSL_set_options(server,
                    SSL_OP_ALLOW_CLIENT_RENEGOTIATION);  // newer versions refuse it unless asked
#endif
  }));
  ASSERT_EQ(SSL_renegotiate(c.pair->client.get()), 1);
  SSL_do_handshake(c.pair->client.get());
  std::string hello = c.pair->wire();
  ASSERT_GT(hello.size(), 50u);
  c.put(hello);
  EXPECT_EQ(c.read_all().kind, IoResult::again);
  c.client_reads();
  EXPECT_EQ(c.pair->client_error, SSL_ERROR_SSL);
  EXPECT_EQ(c.pair->client_reason, SSL_R_NO_RENEGOTIATION);
}

// ---- Taking over --------------------------------------------------------------------------------

TEST_P(TlsSessionTest, ThatIsDestroyedBeforeItTakesOverLeavesTheSessionToItsFirstOwner) {
  TlsPair pair(GetParam());
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  { TlsTransport transport(ends[0], pair.server.get()); }
  EXPECT_EQ(fcntl(ends[0], F_GETFD), -1);
  close(ends[1]);
  EXPECT_EQ(SSL_get_app_data(pair.server.get()), &pair);
  EXPECT_EQ(SSL_get_shutdown(pair.server.get()), 0);
  give(SSL_get_rbio(pair.server.get()), pair.sealed("hello"));
  char into[10];
  EXPECT_EQ(SSL_read(pair.server.get(), into, sizeof into), 5);
  EXPECT_EQ(SSL_write(pair.server.get(), "world", 5), 5);
  pair.client_takes(take_all(SSL_get_wbio(pair.server.get())));
  EXPECT_EQ(pair.received, "world");
}

TEST_P(TlsSessionTest, TakesTheSessionFromItsFirstOwnerOnlyWhenItIsTold) {
  TlsPair pair(GetParam());
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  auto transport = std::make_unique<TlsTransport>(ends[0], pair.server.get());
  EXPECT_EQ(transport->descriptor(), ends[0]);
  // Its first owner is done with it, as httpd is: told the client nothing, and let go.
  SSL_set_shutdown(pair.server.get(), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  EXPECT_EQ(SSL_get_app_data(pair.server.get()), &pair);
  transport->take_over({}, false);
  EXPECT_EQ(SSL_get_app_data(pair.server.get()), nullptr);
  pair.server.reset();
  std::string hello = "hello", wire = pair.sealed("still open");
  iovec piece = {hello.data(), hello.size()};
  EXPECT_EQ(transport->write({&piece, 1}).size, 5u);
  ASSERT_EQ(send(ends[1], wire.data(), wire.size(), 0), ssize_t(wire.size()));
  uint8_t into[100];
  EXPECT_EQ(transport->read(into).size, 10u);
  transport.reset();
  EXPECT_EQ(fcntl(ends[0], F_GETFD), -1);
  close(ends[1]);
}

TEST(TlsTransport, CarriesSessionsOfServersOfThisOpenSsl) {
  auto carries = [](const SSL_METHOD* method) {
    TlsPointer<SSL_CTX> context(SSL_CTX_new(method));
    TlsPointer<SSL> session(SSL_new(context.get()));
    return TlsTransport::can_carry(session.get());
  };
  EXPECT_TRUE(carries(TLS_server_method()));
  EXPECT_TRUE(carries(TLS_method()));
  EXPECT_FALSE(carries(TLS_client_method()));
  EXPECT_FALSE(carries(DTLS_server_method()));
}

TEST(TlsTransport, OverTcpAResetFailsReadsAndWrites) {
  int listener = socket(AF_INET, SOCK_STREAM, 0), far = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(listen(listener, 1), 0);
  ASSERT_EQ(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size), 0);
  ASSERT_EQ(connect(far, reinterpret_cast<sockaddr*>(&address), size), 0);
  TlsPair pair(TLS1_3_VERSION);
  TlsTransport transport(accept(listener, nullptr, nullptr), pair.server.get());
  transport.take_over({}, false);
  close(listener);
  linger reset{1, 0};
  ASSERT_EQ(setsockopt(far, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
  close(far);
  pollfd descriptor = {transport.descriptor(), POLLIN, 0};
  ASSERT_EQ(poll(&descriptor, 1, 60'000), 1);
  uint8_t into[10];
  EXPECT_EQ(transport.read(into).kind, IoResult::failed);
  iovec piece{into, 1};
  EXPECT_EQ(transport.write({&piece, 1}).kind, IoResult::failed);
  EXPECT_FALSE(transport.finish_writing());
}

// ---- With a connection --------------------------------------------------------------------------

TEST_P(TlsSessionTest, CarriesAConnectionFromItsFirstBytesToItsEnd) {
  auto pair = std::make_unique<TlsPair>(GetParam());
  std::string large(300'000, 'l');
  std::string wire = pair->sealed(text("first"));
  TlsConnection c(std::move(pair), wire);
  c.narrow();
  c.put_sealed(text("second"));
  Log log;
  log.echoes = true;
  log.then_on_message = [&](Connection& connection, Opcode, Bytes payload) {
    if (text_of(payload) == "second") connection.send(Opcode::binary, bytes_of(large));
  };
  Loop loop(4096);
  loop.any_thread_adopt(std::make_unique<Connection>(std::move(c.transport), log, SessionSettings{},
                                                     make_ref<Log::Mark>(log)),
                        {});
  bool closing = false;
  run(loop, [&](int) {
    if (c.told_end) return;
    c.client_reads(10'000);
    if (!closing && frames_of(c.pair->received).size() == 3 &&
        frames_of(c.pair->received).back() != "incomplete") {
      closing = true;
      c.put_sealed(close_frame(1000));
    }
    if (c.told_end) c.end();
  });
  log.expect_gone();
  EXPECT_EQ(log.events, (Events{"open", "text first", "text second", "close 1000, clean"}));
  EXPECT_EQ(
      frames_of(c.pair->received),
      (Events{"text first", "text second", message_event(Opcode::binary, large), "close 1000"}));
  EXPECT_EQ(c.pair->client_error, SSL_ERROR_ZERO_RETURN);
}

}  // namespace
}  // namespace mws
