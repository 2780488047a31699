// A transport over TLS: what it writes, and how it ends.
#include "src/engine/tls_transport.h"

#include <random>

#include "tests/unit/engine_support.h"
#include "tests/unit/tls_support.h"

namespace mws {
namespace {

using namespace test;

constexpr size_t kMostUnsent = 96 * 1024;  // after a write: what one gathers, and a record

class TlsWritingTest : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Versions, TlsWritingTest, kTlsVersions, tls_version_name);

// ---- Writing ------------------------------------------------------------------------------------

TEST_P(TlsWritingTest, WritesAllPiecesInOrder) {
  TlsConnection c(GetParam());
  EXPECT_EQ(c.write({"one"}).size, 3u);
  IoResult result = c.write({"two", "", "three"});
  EXPECT_EQ(result.kind, IoResult::done);
  EXPECT_EQ(result.size, 8u);
  EXPECT_EQ(c.transport->unsent(), 0u);
  c.client_reads();
  EXPECT_EQ(c.pair->received, "onetwothree");
}

TEST_P(TlsWritingTest, WritesPiecesOfAllSizesByteForByte) {
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

TEST_P(TlsWritingTest, OneWriteIsOneSystemCallHoweverManyRecords) {
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

TEST_P(TlsWritingTest, WritesRecordsNoLongerThanTheClientWants) {
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

TEST_P(TlsWritingTest, IntoAFullSocketLosesNothingAndHoldsLittle) {
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

TEST_P(TlsWritingTest, SendsOnWithNothingMoreToWrite) {
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

TEST_P(TlsWritingTest, WritingToAClientThatIsGoneFailsWithoutASignal) {
  TlsConnection c(GetParam());
  c.hang_up();
  EXPECT_EQ(c.write({"one"}).kind, IoResult::failed);
  EXPECT_EQ(c.write({"one", std::string(100'000, 'x')}).kind, IoResult::failed);
  EXPECT_EQ(c.read().kind, IoResult::failed);
}

TEST_P(TlsWritingTest, SendingOnToAClientThatIsGoneFailsWithoutASignal) {
  TlsConnection c(GetParam());
  c.narrow();
  ASSERT_EQ(c.write({std::string(40'000, 'x')}).kind, IoResult::done);
  ASSERT_GT(c.transport->unsent(), 0u);
  c.hang_up();
  EXPECT_EQ(c.transport->write({}).kind, IoResult::failed);
}

// ---- Finishing ----------------------------------------------------------------------------------

TEST_P(TlsWritingTest, FinishTellsTheClientInTlsAndInTcp) {
  TlsConnection c(GetParam());
  ASSERT_EQ(c.write({"bye"}).kind, IoResult::done);
  EXPECT_TRUE(c.transport->finish_writing());
  c.client_reads();
  EXPECT_EQ(c.pair->received, "bye");
  EXPECT_EQ(c.pair->client_error, SSL_ERROR_ZERO_RETURN);
  EXPECT_TRUE(c.told_end);
  EXPECT_TRUE(c.transport->finish_writing());
}

TEST_P(TlsWritingTest, BehindFinishWhatTheClientSendsIsDroppedUntilItsEnd) {
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

TEST_P(TlsWritingTest, FinishWaitsBehindWhatIsUnsent) {
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

TEST_P(TlsWritingTest, FinishFailsWhenTheClientIsGone) {
  TlsConnection c(GetParam());
  c.hang_up();
  EXPECT_FALSE(c.transport->finish_writing());
}

TEST_P(TlsWritingTest, ASessionThatWasNotClosedCanStillBeResumed) {
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

}  // namespace
}  // namespace mws
