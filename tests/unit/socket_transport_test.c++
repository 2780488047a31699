#include "src/engine/socket_transport.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <vector>

namespace mws {
namespace {

class SocketTransportTest : public testing::Test {
 protected:
  void SetUp() override {
    int ends[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    transport.emplace(ends[0]);
    client = ends[1];
  }
  void TearDown() override {
    if (client >= 0) close(client);
  }

  IoResult write(std::vector<std::string> pieces) {
    std::vector<iovec> all;
    for (std::string& piece : pieces) all.push_back({piece.data(), piece.size()});
    return transport->write(all);
  }
  IoResult read(size_t room = 100) {
    std::vector<uint8_t> into(room);
    IoResult result = transport->read(into);
    last_read = std::string(into.begin(), into.begin() + ptrdiff_t(result.size));
    return result;
  }
  std::string client_reads() {
    std::string all(1 << 20, 0);
    ssize_t size = recv(client, all.data(), all.size(), MSG_DONTWAIT);
    all.resize(size > 0 ? size_t(size) : 0);
    return all;
  }

  std::optional<SocketTransport> transport;
  int client = -1;
  std::string last_read;
};

TEST_F(SocketTransportTest, ReadsWhatIsThere) {
  EXPECT_EQ(read().kind, IoResult::again);
  ASSERT_EQ(send(client, "hello", 5, 0), 5);
  IoResult result = read(3);
  EXPECT_EQ(result.kind, IoResult::done);
  EXPECT_TRUE(result.read_on);  // there may be more
  EXPECT_EQ(last_read, "hel");
  result = read();
  EXPECT_EQ(result.kind, IoResult::done);
  EXPECT_FALSE(result.read_on);
  EXPECT_EQ(last_read, "lo");
  EXPECT_EQ(read().kind, IoResult::again);
}

TEST_F(SocketTransportTest, DoesNotWaitOnASocketThatWould) {
  EXPECT_EQ(fcntl(transport->descriptor(), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_EQ(read().kind, IoResult::again);
  while (write({std::string(100'000, 'x')}).kind == IoResult::done) {
  }
  EXPECT_EQ(write({"x"}).kind, IoResult::again);
}

TEST_F(SocketTransportTest, WritesAllPiecesInOrder) {
  IoResult result = write({"one"});
  EXPECT_EQ(result.kind, IoResult::done);
  EXPECT_EQ(result.size, 3u);
  result = write({"two", "", "three"});
  EXPECT_EQ(result.kind, IoResult::done);
  EXPECT_EQ(result.size, 8u);
  EXPECT_EQ(client_reads(), "onetwothree");
}

TEST_F(SocketTransportTest, SaysHowMuchOfAWriteWentThrough) {
  std::string pieces[3];
  for (int i = 0; i < 3; i++) pieces[i].assign(4 << 20, char('a' + i));
  std::string all = pieces[0] + pieces[1] + pieces[2], got;
  size_t written = 0;
  bool partial = false;
  while (written < all.size()) {
    size_t first = written / pieces[0].size();
    std::vector<std::string> rest{pieces[first].substr(written % pieces[0].size())};
    for (size_t i = first + 1; i < 3; i++) rest.push_back(pieces[i]);
    IoResult result = write(rest);
    if (result.kind == IoResult::done) {
      ASSERT_GT(result.size, 0u);
      partial |= result.size < all.size() - written;
      written += result.size;
    } else {
      ASSERT_EQ(result.kind, IoResult::again);
    }
    got += client_reads();
  }
  EXPECT_TRUE(partial);
  EXPECT_TRUE(got == all);
}

TEST_F(SocketTransportTest, ReadsTheEndBehindWhatTheClientSent) {
  ASSERT_EQ(send(client, "bye", 3, 0), 3);
  ASSERT_EQ(shutdown(client, SHUT_WR), 0);
  EXPECT_EQ(read().kind, IoResult::done);
  EXPECT_EQ(read().kind, IoResult::end);
  EXPECT_EQ(read().kind, IoResult::end);
  EXPECT_EQ(write({"still here"}).kind, IoResult::done);
  EXPECT_EQ(client_reads(), "still here");
}

TEST_F(SocketTransportTest, WritingToAClientThatIsGoneFailsWithoutASignal) {
  close(client);
  client = -1;
  EXPECT_EQ(write({"one"}).kind, IoResult::failed);
  EXPECT_EQ(write({"one", "two"}).kind, IoResult::failed);
}

TEST_F(SocketTransportTest, FinishTellsTheClientAndLeavesReadingOpen) {
  EXPECT_TRUE(transport->finish_writing());
  char byte;
  EXPECT_EQ(recv(client, &byte, 1, MSG_DONTWAIT), 0);
  ASSERT_EQ(send(client, "late", 4, 0), 4);
  EXPECT_EQ(read().kind, IoResult::done);
  EXPECT_EQ(last_read, "late");
}

TEST_F(SocketTransportTest, ClosesItsDescriptor) {
  int descriptor = transport->descriptor();
  transport.reset();
  EXPECT_EQ(fcntl(descriptor, F_GETFD), -1);
  char byte;
  EXPECT_EQ(recv(client, &byte, 1, MSG_DONTWAIT), 0);
}

TEST(SocketTransport, OverTcpAResetFailsReadsWritesAndFinish) {
  int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(listen(listener, 1), 0);
  ASSERT_EQ(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size), 0);
  ASSERT_EQ(connect(client, reinterpret_cast<sockaddr*>(&address), size), 0);
  SocketTransport transport(accept(listener, nullptr, nullptr));
  close(listener);
  linger reset{1, 0};
  ASSERT_EQ(setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
  close(client);

  uint8_t into[10];
  IoResult result = transport.read(into);
  while (result.kind == IoResult::again) result = transport.read(into);
  EXPECT_EQ(result.kind, IoResult::failed);
  iovec piece{into, 1};
  EXPECT_EQ(transport.write({&piece, 1}).kind, IoResult::failed);
  EXPECT_FALSE(transport.finish_writing());
}

}  // namespace
}  // namespace mws
