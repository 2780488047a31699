// The bus between servers, in one process: how long a publication takes to come back by Redis, and
// how many go when none waits for another.
//
//   redis SOCKET ROUNDS
//
// The socket is that of a Redis. Prints one line of key=value; and the script, its keys and its
// arguments for a publication, so that another program can measure the same:
//
//   redis SOCKET script
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "src/pubsub/redis_bus.h"
#include "src/pubsub/redis_scripts.h"

#ifdef WEBSOCKET_HIREDIS

namespace {

using namespace mws;

constexpr std::string_view kTopic = "bench";
const std::vector<uint8_t> kPayload(100, 'x');

uint64_t now_ns() {
  using namespace std::chrono;
  return uint64_t(duration_cast<nanoseconds>(steady_clock::now().time_since_epoch()).count());
}

Publication publication() {
  Publication made;
  made.topic = kTopic;
  made.type = Opcode::binary;
  made.payload = kPayload;
  return made;
}

class Log final : public LogSink {
 public:
  void write(LogLevel, std::string_view line) noexcept override {
    fprintf(stderr, "%.*s\n", int(line.size()), line.data());
  }
};

// Publishes the next one when the last has come; then all at once.
class Player final : public BusListener {
 public:
  Player(Loop& loop, Bus& bus, size_t rounds) : loop_(loop), bus_(bus), rounds_(rounds) {}

  void next() {
    sent_ns_ = now_ns();
    bus_.any_thread_publish(publication(), {});
  }
  void on_publication(const Publication&) override {
    uint64_t now = now_ns();
    if (took_ns.size() < rounds_) {
      took_ns.push_back(now - sent_ns_);
      if (took_ns.size() < rounds_) return next();
      sent_ns_ = now;
      for (size_t i = 0; i < rounds_; i++) bus_.any_thread_publish(publication(), {});
    } else if (++came_ == rounds_) {
      all_took_ns = now - sent_ns_;
      loop_.any_thread_quit();
    }
  }
  void on_batch_end() override {}
  void on_missed(std::string_view) override {}

  std::vector<uint64_t> took_ns;
  uint64_t all_took_ns = 0;

 private:
  Loop& loop_;
  Bus& bus_;
  const size_t rounds_;
  size_t came_ = 0;
  uint64_t sent_ns_ = 0;
};

int play(const char* socket, size_t rounds) {
  SharedTopics::Sizes sizes;
  void* memory = mmap(nullptr, SharedTopics::bytes_for(sizes), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return perror("mmap"), 1;
  SharedTopics::lay_out(memory, sizes);
  int descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  SharedTopics topics(memory, std::span(&descriptor, 1));
  Log log;
  Loop loop;
  RedisSettings settings;
  settings.address.path = socket;
  settings.outbox_count = rounds;
  RedisBus bus(
      topics, settings, [&]() -> Loop& { return loop; }, log);
  Player player(loop, bus, rounds);
  if (!bus.any_thread_listen(loop, player) || !bus.any_thread_subscribe(kTopic)) return 1;
  // The answer comes when the bus hears of the topic.
  bus.any_thread_fetch({.topic = kTopic}, [&](Fetched) { player.next(); });
  loop.run();
  std::sort(player.took_ns.begin(), player.took_ns.end());
  printf("p50_us=%.1f p99_us=%.1f pipelined_s=%.0f\n", double(player.took_ns[rounds / 2]) / 1e3,
         double(player.took_ns[rounds * 99 / 100]) / 1e3,
         double(rounds) * 1e9 / double(player.all_took_ns));
  return 0;
}

// With a number that is none, each time counts as a new publication.
int print_script() {
  RedisNames names;
  std::string topic(kTopic);
  printf("%.*s\n--\n%s\n%s\npbench\nnan\n1\n100\n604800\n604800\n%s\n", int(kPublishScript.size()),
         kPublishScript.data(), names.stream(topic + "2").c_str(), names.facts(topic + "2").c_str(),
         names.channel(topic + "2").c_str());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3 && argv[2] == std::string_view("script")) return print_script();
  if (argc == 3 && atoi(argv[2]) > 0) return play(argv[1], size_t(atoi(argv[2])));
  fprintf(stderr, "usage: redis SOCKET ROUNDS\n       redis SOCKET script\n");
  return 2;
}

#else
int main() {
  fprintf(stderr, "built without hiredis\n");
  return 2;
}
#endif
