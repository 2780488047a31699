#include "src/engine/tls_transport.h"

#include <random>

#include "tests/unit/engine_support.h"
#include "tests/unit/tls_support.h"

namespace mws {
namespace {

using namespace test;

// Looks like a record, and is none.
const std::string kBadRecord = std::string("\x17\x03\x03\0\x20", 5) + std::string(32, '_');

class TlsTransportTest : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Versions, TlsTransportTest, kTlsVersions, tls_version_name);

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

// Whoever is told only of what is new must not stop before all is read. Reads end inside of records
// here, and OpenSSL's own where they like.
TEST_P(TlsTransportTest, SaysToReadOnAsLongAsTheSocketMayHaveMore) {
  for (size_t record = 40; record < 1200; record += 29) {
    TlsConnection c(GetParam());
    std::string sent;
    for (size_t all = 0; all < 60'000; all += record)
      sent += c.pair->sealed(std::string(record, 'x'));
    c.put(sent);
    IoResult result = c.read(record - 7);
    while (result.kind == IoResult::done && result.read_on) result = c.read(record - 7);
    EXPECT_EQ(c.got.size(), (60'000 + record - 1) / record * record) << record;
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
    EXPECT_EQ(c.read_all().kind, IoResult::again);  // the socket was asked too
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

}  // namespace
}  // namespace mws
