// Each allocation that a connection makes on its loop fails once: that connection ends and the
// handler is told, the loop and the process live.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "src/engine/loop.h"
#include "tests/unit/engine_support.h"
#include "tests/unit/hooks_support.h"

namespace {
// Below 0: none fails. On the thread that counts, or on every thread.
thread_local long allocations_until_failure = -1;
std::atomic<long> allocations_of_all_until_failure = -1;
}  // namespace

// The whole test program allocates through these.
void* operator new(size_t size) {
  if (allocations_until_failure >= 0 && allocations_until_failure-- == 0) throw std::bad_alloc();
  if (allocations_of_all_until_failure >= 0 && allocations_of_all_until_failure-- == 0)
    throw std::bad_alloc();
  if (void* memory = malloc(size ? size : 1)) return memory;
  throw std::bad_alloc();
}
void* operator new[](size_t size) { return operator new(size); }
void operator delete(void* memory) noexcept { free(memory); }
void operator delete(void* memory, size_t) noexcept { free(memory); }
void operator delete[](void* memory) noexcept { free(memory); }
void operator delete[](void* memory, size_t) noexcept { free(memory); }

namespace mws {
namespace {

// Reads frames that it was given; takes a third of the writes, and of each some bytes. Its
// descriptor is readable and writable always.
class ScarceTransport final : public Transport {
 public:
  explicit ScarceTransport(const std::vector<std::string>& reads) : reads_(reads) {
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair_), 0);
    EXPECT_EQ(::write(pair_[1], "", 1), 1);
  }
  ~ScarceTransport() override {
    close(pair_[0]);
    close(pair_[1]);
  }
  int descriptor() const override { return pair_[0]; }
  IoResult read(MutableBytes into) override {
    if (next_ == reads_.size()) return {IoResult::end};
    const std::string& bytes = reads_[next_++];
    memcpy(into.data(), bytes.data(), bytes.size());
    return {IoResult::done, bytes.size()};
  }
  IoResult write(std::span<const iovec> pieces) override {
    if (++writes_ % 3) return {IoResult::again};
    return {IoResult::done, std::min<size_t>(pieces[0].iov_len, 5000)};
  }
  bool finish_writing() override { return false; }

 private:
  const std::vector<std::string>& reads_;
  size_t next_ = 0;
  int writes_ = 0;
  int pair_[2];
};

class Answers final : public Endpoint {
 public:
  int opened = 0, closed = 0;

 private:
  void on_open(Connection&) noexcept override { opened++; }
  void on_message(Connection& connection, Opcode type, Bytes payload) noexcept override {
    if (text_of(payload) == "quit") connection.close(4000, "bye");
    connection.send(Opcode::binary, large_);
    connection.send(type, payload);
  }
  void on_close(Connection&, uint16_t, std::string_view, bool) noexcept override { closed++; }

  std::vector<uint8_t> large_ = std::vector<uint8_t>(100'000, 'x');
};

// One connection after the other gets the reads, each with one allocation less before one fails.
void expect_each_failure_to_end_one(const std::vector<std::string>& reads,
                                    const DeflateParameters& deflate = {}) {
  for (long failing = 0;; failing++) {
    SCOPED_TRACE(failing);
    Answers answers;
    Loop loop(65536);
    loop.any_thread_adopt(
        std::make_unique<Connection>(std::make_unique<ScarceTransport>(reads), answers,
                                     SessionSettings{.deflate = deflate}, nullptr),
        {});
    allocations_until_failure = failing;
    loop.run_while_connected();
    bool all_made = allocations_until_failure >= 0;
    allocations_until_failure = -1;
    EXPECT_EQ(answers.opened, answers.closed);
    if (all_made) break;
    ASSERT_LT(failing, 1000) << "it allocates without end";
  }
}

TEST(AllocationFailure, EndsTheConnectionWhicheverItIs) {
  using namespace test;
  expect_each_failure_to_end_one({binary(std::string(3000, 'a')),
                                  binary(std::string(3000, 'b')).substr(0, 1000),
                                  binary(std::string(3000, 'b')).substr(1000), text(json(3000)),
                                  text("quit"), close_frame(4000)});
}

TEST(AllocationFailure, EndsTheConnectionWhereMessagesAreCompressed) {
  using namespace test;
  DeflateParameters deflate = kDeflate;
  for (bool takeover : {false, true}) {
    deflate.server_takeover = deflate.client_takeover = takeover;
    PlainDeflater one, other;
    std::string whole = client_frame(0xc1, one.deflate(json(3000)));
    std::string pieces = client_frame(0xc1, (takeover ? one : other).deflate(json(5000)));
    expect_each_failure_to_end_one({whole, pieces.substr(0, 100), pieces.substr(100),
                                    text(json(3000)), text("quit"), close_frame(4000)},
                                   deflate);
  }
}

// A handler that uses what there is; what it does itself takes no memory.
struct Busy {
  const ws_host& host;
  char buffered[5000] = {};
  std::atomic<int> opened = 0, closed = 0, posted = 0, called = 0;
  std::atomic<int> buffers = 0, released = 0;

  static void call(ws_connection*, void* self) { static_cast<Busy*>(self)->called++; }
  static void release(void* self) { static_cast<Busy*>(self)->released++; }
  void send_all(ws_connection* c) {
    ws_handle handle = host.handle(c);
    host.set_timer(c, 0, 60'000);
    host.send_fragment(c, WS_BINARY, "x", 1, 0);
    host.send(c, WS_BINARY, buffered, sizeof buffered, 0);
    if (ws_buffer* buffer =
            host.buffer(&host, WS_BINARY, buffered, sizeof buffered, 0, release, this)) {
      buffers++;
      host.send_buffer(c, buffer);
      host.handle_send_buffer(handle, buffer);
      host.buffer_release(buffer);
    }
    host.send_fragment(c, WS_BINARY, "x", 1, 1);
    host.ping(c, "p", 1);
    host.handle_send(handle, WS_TEXT, "h", 1, 0);
    if (host.handle_post(handle, call, this) == WS_OK) posted++;
    host.cancel_timer(c, 0);
  }
  void event(const char* callback, ws_connection* c) {
    if (!strcmp(callback, "open")) opened++;
    if (!strcmp(callback, "close")) closed++;
    if (!strcmp(callback, "message")) send_all(c), host.pause(c), host.resume(c);
    if (!strcmp(callback, "ping")) host.close(c, 1000, nullptr, 0);
  }
};

class BusyHooks : public Hooks {
 public:
  BusyHooks() : Hooks{nullptr, tell, [](Hooks*, ws_request*) { return 0; }} {}
  Busy* busy = nullptr;

 private:
  static void tell(Hooks* self, const char* callback, ws_connection* c, const void*, size_t,
                   uint32_t) {
    static_cast<BusyHooks*>(self)->busy->event(callback, c);
  }
};

class Silent final : public LogSink {
  void write(LogLevel, std::string_view) noexcept override {}
};

// True if one allocation failed.
bool serve_with_failure(int workers, long failing) {
  using namespace test;
  static Silent silent;
  BusyHooks hooks;
  auto handler = configured("hooks", silent,
                            {{"hooks", std::to_string(uintptr_t(static_cast<Hooks*>(&hooks)))}},
                            kDefaultSymbol, "/here", workers);
  Busy busy{*hooks.host};
  hooks.busy = &busy;
  std::vector<std::string> reads = {text("one"), text("two"), ping("p"), close_frame(1000)};
  bool failed;
  {
    Loop loop(65536);
    loop.any_thread_adopt(
        std::make_unique<Connection>(std::make_unique<ScarceTransport>(reads), *handler,
                                     SessionSettings{}, handler->attach(Request())),
        {});
    allocations_of_all_until_failure = failing;
    loop.run_while_connected();
  }
  EXPECT_TRUE(handler->finish(600'000));
  failed = allocations_of_all_until_failure < 0;
  allocations_of_all_until_failure = -1;
  EXPECT_EQ(busy.opened, busy.closed);
  EXPECT_EQ(busy.posted, busy.called);
  EXPECT_EQ(busy.buffers, busy.released);
  return failed;
}

TEST(AllocationFailure, LosesNoCloseNoPostedCallAndNoBufferOfAHandler) {
  for (int workers : {0, 1})
    for (long failing = 0;; failing++) {
      SCOPED_TRACE(std::to_string(workers) + " workers, allocation " + std::to_string(failing));
      if (!serve_with_failure(workers, failing)) break;
      ASSERT_LT(failing, 1000) << "it allocates without end";
    }
}

}  // namespace
}  // namespace mws
