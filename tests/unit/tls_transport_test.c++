#include "src/engine/tls_transport.h"

#include <malloc.h>
#include <netinet/in.h>

#include <random>

#include "tests/unit/engine_support.h"
#include "tests/unit/tls_support.h"

#ifdef __SANITIZE_ADDRESS__
extern "C" size_t __sanitizer_get_current_allocated_bytes();
#endif

namespace mws {
namespace {

using namespace test;

constexpr size_t kMostUnsent = 96 * 1024;  // after a write: what one gathers, and a record

// Looks like a record, and is none.
const std::string kBadRecord = std::string("\x17\x03\x03\0\x20", 5) + std::string(32, '_');

std::string random_bytes(std::mt19937& random, size_t size) {
  std::string bytes(size, 0);
  for (char& each : bytes) each = char(random());
  return bytes;
}

class TlsTransportTest : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Versions, TlsTransportTest,
                         testing::Values(TLS1_2_VERSION, TLS1_3_VERSION), [](const auto& version) {
                           return version.param == TLS1_2_VERSION ? "Tls12" : "Tls13";
                         });

// ---- Reading ------------------------------------------------------------------------------------

TEST_P(TlsTransportTest, ReadsWhatIsThereInOneGo) {
  TlsConnection c(GetParam());
  EXPECT_EQ(c.read().kind, IoResult::again);
  c.put_sealed("hello");
  IoResult result = c.read();
  EXPECT_EQ(result.kind, IoResult::done);
  EXPECT_FALSE(result.read_on);
  c.put(in_order({c.pair->sealed(", "), c.pair->sealed("wor"), c.pair->sealed("ld")}));
  EXPECT_EQ(c.read().size, 7u);
  EXPECT_EQ(c.got, "hello, world");
  EXPECT_EQ(c.read().kind, IoResult::again);
}

TEST_P(TlsTransportTest, ReadsARecordThatComesInTwoParts) {
  TlsConnection c(GetParam());
  std::string wire = c.pair->sealed("hello");
  for (size_t at = 1; at < wire.size(); at++) {
    SCOPED_TRACE(at);
    c.put(wire.substr(0, at));
    EXPECT_EQ(c.read().kind, IoResult::again);
    c.put(wire.substr(at));
    c.got.clear();
    EXPECT_EQ(c.read().kind, IoResult::done);
    EXPECT_EQ(c.got, "hello");
    wire = c.pair->sealed("hello");
  }
}

TEST_P(TlsTransportTest, ReadsAWholeRecordAndKeepsThePartBehindIt) {
  TlsConnection c(GetParam());
  for (size_t at = 1; at < 20; at++) {
    SCOPED_TRACE(at);
    std::string first = c.pair->sealed("one"), second = c.pair->sealed("two");
    c.put(first + second.substr(0, at));
    c.got.clear();
    IoResult result = c.read();
    EXPECT_EQ(result.kind, IoResult::done);
    EXPECT_FALSE(result.read_on);  // or it would turn without end
    EXPECT_EQ(c.got, "one");
    c.put(second.substr(at));
    EXPECT_EQ(c.read().kind, IoResult::done);
    EXPECT_EQ(c.got, "onetwo");
  }
}

TEST_P(TlsTransportTest, SaysToReadOnWhileTheSessionHoldsBytes) {
  TlsConnection c(GetParam());
  std::string all(10'000, 'x');
  c.put(in_order({c.pair->sealed(all), c.pair->sealed("behind")}));
  int reads = 0;
  while (c.read(1000).read_on) reads++;
  EXPECT_EQ(reads, 10);
  EXPECT_EQ(c.got, all + "behind");
}

TEST_P(TlsTransportTest, ReadsEverythingHoweverItIsCut) {
  std::mt19937 random(1);
  TlsConnection c(GetParam());
  std::string all, wire;
  for (int i = 0; i < 300; i++) {
    std::string piece = random_bytes(random, 1 + random() % (i % 3 ? 50 : 20'000));
    all += piece;
    wire += c.pair->sealed(piece);
  }
  for (size_t at = 0; at < wire.size();) {
    size_t size = std::min<size_t>(1 + random() % (random() % 2 ? 60 : 50'000), wire.size() - at);
    c.put(wire.substr(at, size));
    at += size;
    ASSERT_NE(c.read_all(1 + random() % 30'000).kind, IoResult::failed);
  }
  EXPECT_TRUE(c.got == all);
}

TEST_P(TlsTransportTest, ReadsFirstWhatItsFirstOwnerReceived) {
  auto pair = std::make_unique<TlsPair>(GetParam());
  size_t size = pair->sealed("hello").size();
  for (size_t at = 0; at <= size; at++) {
    SCOPED_TRACE(at);
    pair = std::make_unique<TlsPair>(GetParam());
    std::string wire = pair->sealed("hello");
    TlsConnection c(std::move(pair), wire.substr(0, at));
    EXPECT_EQ(c.transport->may_hold_bytes(), at > 0);
    EXPECT_EQ(c.read_all().kind, at < size ? IoResult::again : IoResult::done);
    c.put(wire.substr(at));
    c.put_sealed(", world");
    EXPECT_EQ(c.read_all().kind, IoResult::done);
    EXPECT_EQ(c.got, "hello, world");
  }
}

// Sizes around those of the session's own buffer, so that a record's end is also the buffer's.
TEST_P(TlsTransportTest, LeavesNothingBehindOfWhatItsFirstOwnerReceivedHoweverMuch) {
  for (size_t size = 200; size < 420; size++) {
    SCOPED_TRACE(size);
    auto pair = std::make_unique<TlsPair>(GetParam());
    std::string large(16384, 'l'), small(size, 's');
    std::string wire = in_order({pair->sealed(large), pair->sealed(small), pair->sealed("last")});
    TlsConnection c(std::move(pair), wire);
    c.read_all();
    ASSERT_TRUE(c.got == large + small + "last") << c.got.size();
  }
}

TEST_P(TlsTransportTest, ReadsWhatTheSessionHeldForItsFirstOwner) {
  auto pair = std::make_unique<TlsPair>(GetParam());
  give(SSL_get_rbio(pair->server.get()),
       in_order({pair->sealed("hello"), pair->sealed(", world")}));
  char into[2];
  ASSERT_EQ(SSL_read(pair->server.get(), into, 2), 2);
  std::string rest = take_all(SSL_get_rbio(pair->server.get()));
  TlsConnection c(std::move(pair), rest);
  c.read_all();
  EXPECT_EQ(c.got, "llo, world");
}

// ---- Ends ---------------------------------------------------------------------------------------

TEST_P(TlsTransportTest, ReadsTheEndThatTheClientTold) {
  TlsConnection c(GetParam());
  c.put(c.pair->close_notify());
  EXPECT_EQ(c.read().kind, IoResult::end);
  EXPECT_EQ(c.read().kind, IoResult::end);
  EXPECT_EQ(c.write({"still here"}).kind, IoResult::done);
  c.client_reads();
  EXPECT_EQ(c.pair->received, "still here");
}

TEST_P(TlsTransportTest, ReadsTheEndBehindWhatTheClientSentInTheSameRead) {
  TlsConnection c(GetParam());
  c.put(in_order({c.pair->sealed("bye"), c.pair->close_notify()}));
  IoResult result = c.read();
  EXPECT_EQ(result.kind, IoResult::done);
  EXPECT_TRUE(result.read_on);
  EXPECT_EQ(c.got, "bye");
  EXPECT_EQ(c.read().kind, IoResult::end);
}

TEST_P(TlsTransportTest, ReadsTheEndThatItsFirstOwnerWasTold) {
  auto pair = std::make_unique<TlsPair>(GetParam());
  give(SSL_get_rbio(pair->server.get()), in_order({pair->sealed("bye"), pair->close_notify()}));
  char into[10];
  ASSERT_EQ(SSL_read(pair->server.get(), into, sizeof into), 3);
  ASSERT_EQ(SSL_read(pair->server.get(), into, sizeof into), 0);
  TlsConnection c(std::move(pair), "", SOCK_STREAM, true);
  EXPECT_EQ(c.read().kind, IoResult::end);
  EXPECT_EQ(c.write({"still here"}).kind, IoResult::done);
  EXPECT_TRUE(c.transport->finish_writing());
  c.client_reads();
  EXPECT_EQ(c.pair->received, "still here");
  EXPECT_EQ(c.pair->client_error, SSL_ERROR_ZERO_RETURN);
}

TEST_P(TlsTransportTest, ReadsTheEndWhateverErrorOthersLeftOnItsThread) {
  TlsConnection c(GetParam());
  c.put(c.pair->close_notify());
  ASSERT_EQ(SSL_CTX_use_PrivateKey(client_context(), nullptr), 0);
  ASSERT_NE(ERR_peek_error(), 0u);
  EXPECT_EQ(c.read().kind, IoResult::end);
  ERR_clear_error();
}

TEST_P(TlsTransportTest, AStreamThatIsCutShortFails) {
  for (bool tolerant : {false, true}) {
    for (std::string_view before : {"", "hello"}) {
      auto pair = std::make_unique<TlsPair>(GetParam());
#ifdef SSL_OP_IGNORE_UNEXPECTED_EOF
      if (tolerant) SSL_set_options(pair->server.get(), SSL_OP_IGNORE_UNEXPECTED_EOF);
#endif
      TlsConnection c(std::move(pair));
      if (!before.empty()) c.put_sealed(before);
      c.end();
      EXPECT_EQ(c.read_all().kind, IoResult::failed) << tolerant;
      EXPECT_EQ(c.got, before);
    }
  }
}

TEST_P(TlsTransportTest, AStreamThatEndsInsideARecordFails) {
  TlsConnection c(GetParam());
  c.put(in_order({c.pair->sealed("hello"), c.pair->sealed("cut").substr(0, 10)}));
  c.end();
  EXPECT_EQ(c.read_all().kind, IoResult::failed);
  EXPECT_EQ(c.got, "hello");
}

TEST_P(TlsTransportTest, GarbageFailsBehindWhatWasGoodAndTheClientIsTold) {
  for (const std::string& garbage : {std::string("GET / HTTP/1.1\r\n\r\n"), kBadRecord}) {
    TlsConnection c(GetParam());
    c.put(c.pair->sealed("good") + garbage);
    EXPECT_EQ(c.read().kind, IoResult::done);
    EXPECT_EQ(c.got, "good");
    EXPECT_EQ(c.read().kind, IoResult::failed);
    EXPECT_EQ(c.read().kind, IoResult::failed);
    EXPECT_EQ(c.write({"more"}).kind, IoResult::failed);
    c.client_reads();
    EXPECT_EQ(c.pair->client_error, SSL_ERROR_SSL);  // an alert
    EXPECT_EQ(c.pair->received, "");
  }
}

TEST_P(TlsTransportTest, AFatalAlertFails) {
  TlsConnection c(GetParam());
  // What the client says to a record that it cannot decrypt.
  c.pair->client_takes(kBadRecord);
  ASSERT_EQ(c.pair->client_error, SSL_ERROR_SSL);
  std::string alert = c.pair->wire();
  ASSERT_FALSE(alert.empty());
  c.put(alert);
  EXPECT_EQ(c.read_all().kind, IoResult::failed);
  EXPECT_EQ(c.write({"more"}).kind, IoResult::failed);
}

// ---- Writing ------------------------------------------------------------------------------------

TEST_P(TlsTransportTest, WritesAllPiecesInOrder) {
  TlsConnection c(GetParam());
  EXPECT_EQ(c.write({"one"}).size, 3u);
  IoResult result = c.write({"two", "", "three"});
  EXPECT_EQ(result.kind, IoResult::done);
  EXPECT_EQ(result.size, 8u);
  EXPECT_EQ(c.transport->unsent(), 0u);
  c.client_reads();
  EXPECT_EQ(c.pair->received, "onetwothree");
}

TEST_P(TlsTransportTest, WritesPiecesOfAllSizesByteForByte) {
  std::mt19937 random(2);
  TlsConnection c(GetParam());
  std::string all;
  for (int i = 0; i < 100; i++) {
    std::vector<std::string> pieces(1 + random() % 16);
    for (std::string& each : pieces)
      each = random_bytes(random, random() % (random() % 4 ? 200 : 40'000));
    if (pieces.back().empty()) pieces.back() = "x";
    std::string joined_pieces;
    for (const std::string& each : pieces) joined_pieces += each;
    for (size_t written = 0; written < joined_pieces.size();) {
      // What a write did not take is offered again, in pieces of other sizes.
      IoResult result = written ? c.write({joined_pieces.substr(written)}) : c.write(pieces);
      ASSERT_NE(result.kind, IoResult::failed);
      written += result.size;
      c.client_reads();
    }
    all += joined_pieces;
  }
  while (c.transport->unsent()) {
    ASSERT_NE(c.transport->write({}).kind, IoResult::failed);
    c.client_reads();
  }
  c.client_reads();
  EXPECT_TRUE(c.pair->received == all);
}

TEST_P(TlsTransportTest, OneWriteIsOneSystemCallHoweverManyRecords) {
  TlsConnection c(GetParam(), "", SOCK_SEQPACKET);  // where each is a packet
  std::string all;
  for (std::vector<std::string> pieces :
       {std::vector<std::string>{"a"},
        {"a", "b", "c"},
        {std::string(50'000, 'd')},
        {"e", std::string(20'000, 'f'), "g", std::string(20'000, 'h')}}) {
    for (const std::string& each : pieces) all += each;
    ASSERT_EQ(c.write(pieces).kind, IoResult::done);
    std::string packet(1 << 20, 0);
    ssize_t size = recv(c.far, packet.data(), packet.size(), MSG_DONTWAIT);
    ASSERT_GT(size, 0);
    c.pair->client_takes(std::string_view(packet).substr(0, size_t(size)));
    EXPECT_TRUE(c.pair->received == all);
  }
}

TEST_P(TlsTransportTest, WritesRecordsNoLongerThanTheClientWants) {
  auto pair = std::make_unique<TlsPair>(GetParam(), [](SSL*, SSL* client) {
    SSL_set_tlsext_max_fragment_length(client, TLSEXT_max_fragment_length_512);
  });
  TlsConnection c(std::move(pair));
  std::mt19937 random(3);
  std::string all = random_bytes(random, 50'000);
  for (size_t written = 0; written < all.size() || c.transport->unsent();) {
    IoResult result = c.write({all.substr(written)});
    ASSERT_NE(result.kind, IoResult::failed);
    written += result.size;
    c.client_reads();
  }
  c.client_reads();
  EXPECT_TRUE(c.pair->received == all);
}

TEST_P(TlsTransportTest, IntoAFullSocketLosesNothingAndHoldsLittle) {
  std::mt19937 random(4);
  TlsConnection c(GetParam());
  c.narrow();
  std::string all = random_bytes(random, 1 << 20);
  size_t written = 0;
  int full = 0;
  for (int round = 0; written < all.size() || c.transport->unsent(); round++) {
    ASSERT_LT(round, 1'000'000);
    IoResult result = c.write({all.substr(written, 1 + random() % 100'000)});
    ASSERT_NE(result.kind, IoResult::failed);
    written += result.size;
    if (size_t unsent = c.transport->unsent()) {
      full++;
      ASSERT_LE(unsent, kMostUnsent);
      // Nobody has read since.
      ASSERT_EQ(c.write({"not taken"}).kind, IoResult::again);
      ASSERT_EQ(c.transport->write({}).kind, IoResult::again);
      ASSERT_EQ(c.transport->unsent(), unsent);
    }
    c.client_reads(1 + random() % 5000);
  }
  c.client_reads();
  EXPECT_GT(full, 10);
  EXPECT_TRUE(c.pair->received == all);
}

TEST_P(TlsTransportTest, SendsOnWithNothingMoreToWrite) {
  TlsConnection c(GetParam());
  c.narrow();
  std::string all(40'000, 'x');
  IoResult result = c.write({all});
  ASSERT_EQ(result.kind, IoResult::done);
  ASSERT_GT(c.transport->unsent(), 0u);
  all.resize(result.size);
  for (int round = 0; c.transport->unsent(); round++) {
    ASSERT_LT(round, 1'000'000);
    c.client_reads();
    size_t before = c.transport->unsent();
    result = c.transport->write({});
    ASSERT_EQ(result.kind, IoResult::done);
    EXPECT_EQ(result.size, 0u);
    EXPECT_LT(c.transport->unsent(), before);
  }
  c.client_reads();
  EXPECT_TRUE(c.pair->received == all);
}

TEST_P(TlsTransportTest, WritingToAClientThatIsGoneFailsWithoutASignal) {
  TlsConnection c(GetParam());
  c.hang_up();
  EXPECT_EQ(c.write({"one"}).kind, IoResult::failed);
  EXPECT_EQ(c.write({"one", std::string(100'000, 'x')}).kind, IoResult::failed);
  EXPECT_EQ(c.read().kind, IoResult::failed);
}

TEST_P(TlsTransportTest, SendingOnToAClientThatIsGoneFailsWithoutASignal) {
  TlsConnection c(GetParam());
  c.narrow();
  ASSERT_EQ(c.write({std::string(40'000, 'x')}).kind, IoResult::done);
  ASSERT_GT(c.transport->unsent(), 0u);
  c.hang_up();
  EXPECT_EQ(c.transport->write({}).kind, IoResult::failed);
}

// ---- Finishing ----------------------------------------------------------------------------------

TEST_P(TlsTransportTest, FinishTellsTheClientInTlsAndInTcp) {
  TlsConnection c(GetParam());
  ASSERT_EQ(c.write({"bye"}).kind, IoResult::done);
  EXPECT_TRUE(c.transport->finish_writing());
  c.client_reads();
  EXPECT_EQ(c.pair->received, "bye");
  EXPECT_EQ(c.pair->client_error, SSL_ERROR_ZERO_RETURN);
  EXPECT_TRUE(c.told_end);
  EXPECT_TRUE(c.transport->finish_writing());
}

TEST_P(TlsTransportTest, BehindFinishWhatTheClientSendsIsDroppedUntilItsEnd) {
  TlsConnection c(GetParam());
  EXPECT_TRUE(c.transport->finish_writing());
  EXPECT_EQ(c.read().kind, IoResult::again);
  c.put_sealed("late");
  c.put("garbage");
  c.put(c.pair->close_notify());
  EXPECT_EQ(c.read_all().kind, IoResult::again);
  EXPECT_EQ(c.got, "");
  c.end();
  EXPECT_EQ(c.read_all().kind, IoResult::end);
}

TEST_P(TlsTransportTest, FinishWaitsBehindWhatIsUnsent) {
  TlsConnection c(GetParam());
  c.narrow();
  IoResult result = c.write({std::string(40'000, 'x')});
  ASSERT_GT(c.transport->unsent(), 0u);
  EXPECT_TRUE(c.transport->finish_writing());
  for (int round = 0; c.transport->unsent(); round++) {
    ASSERT_LT(round, 1'000'000);
    c.client_reads();
    EXPECT_FALSE(c.told_end);
    ASSERT_EQ(c.transport->write({}).kind, IoResult::done);
  }
  c.client_reads();
  EXPECT_EQ(c.pair->received.size(), result.size);
  EXPECT_EQ(c.pair->client_error, SSL_ERROR_ZERO_RETURN);
  EXPECT_TRUE(c.told_end);
}

TEST_P(TlsTransportTest, FinishFailsWhenTheClientIsGone) {
  TlsConnection c(GetParam());
  c.hang_up();
  EXPECT_FALSE(c.transport->finish_writing());
}

TEST_P(TlsTransportTest, ASessionThatWasNotClosedCanStillBeResumed) {
  auto stateful = [](SSL* server, SSL*) { SSL_set_options(server, SSL_OP_NO_TICKET); };
  TlsPointer<SSL_SESSION> session;
  {
    TlsConnection c(std::make_unique<TlsPair>(GetParam(), stateful));
    session.reset(SSL_get1_session(c.pair->client.get()));
  }
  ASSERT_TRUE(SSL_SESSION_is_resumable(session.get()));
  TlsPair again(GetParam(), [&](SSL* server, SSL* client) {
    stateful(server, client);
    SSL_set_session(client, session.get());
  });
  EXPECT_TRUE(SSL_session_reused(again.server.get()));
}

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

TEST_P(TlsTransportTest, ThatIsDestroyedBeforeItTakesOverLeavesTheSessionToItsFirstOwner) {
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

TEST_P(TlsTransportTest, TakesTheSessionFromItsFirstOwnerOnlyWhenItIsTold) {
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

TEST_P(TlsTransportTest, CarriesAConnectionFromItsFirstBytesToItsEnd) {
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
                                                     std::make_unique<Log::Mark>(log)),
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
