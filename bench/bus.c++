// The bus between the children of one server, without WebSockets: one process publishes, another
// hears of it.
//
//   bus throughput SECONDS        publishes as fast as it goes
//   bus latency    SECONDS RATE   RATE publications a second, heard in the same process; and then,
//                                 as much again, in another
//
// Prints one line of key=value; lost is what the listener did not hear of. 100 bytes to one topic,
// with the history as it is by default.
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <thread>
#include <vector>

#include "src/pubsub/local_bus.h"

namespace {

using namespace mws;

constexpr std::string_view kTopic = "bench/topic";
constexpr size_t kPayload = 100;  // bytes; they begin with the time

[[noreturn]] void fail(const char* what) {
  perror(what);
  exit(1);
}

uint64_t now_ns() {
  using namespace std::chrono;
  return uint64_t(duration_cast<nanoseconds>(steady_clock::now().time_since_epoch()).count());
}

// Of this process so far, user and system.
double cpu_us() {
  rusage used;
  getrusage(RUSAGE_SELF, &used);
  auto us = [](const timeval& time) { return double(time.tv_sec) * 1e6 + double(time.tv_usec); };
  return us(used.ru_utime) + us(used.ru_stime);
}

struct Heard {
  uint64_t count, missed;  // missed: how often the bus said so
  double p50_us, p99_us;
  double cpu_us;  // of the process; so in the next
};

// Counts what comes, until a text does.
class Listener final : public BusListener {
 public:
  explicit Listener(Loop& loop) : loop_(loop) { latency_ns_.reserve(1 << 24); }

  void on_publication(const Publication& publication) override {
    if (publication.type == Opcode::text) return loop_.any_thread_quit();
    count_++;
    if (latency_ns_.size() == latency_ns_.capacity()) return;
    uint64_t then_ns;
    memcpy(&then_ns, publication.payload.data(), sizeof then_ns);
    latency_ns_.push_back(uint32_t(std::min<uint64_t>(now_ns() - then_ns, UINT32_MAX)));
  }
  void on_batch_end() override {}
  void on_missed(std::string_view) override { missed_++; }

  Heard heard() {
    double took_us = cpu_us();
    std::sort(latency_ns_.begin(), latency_ns_.end());
    auto percentile_us = [&](double part) {
      if (latency_ns_.empty()) return 0.0;
      return latency_ns_[size_t(part * double(latency_ns_.size() - 1))] / 1e3;
    };
    return {count_, missed_, percentile_us(.5), percentile_us(.99), took_us};
  }

 private:
  Loop& loop_;
  uint64_t count_ = 0, missed_ = 0;
  std::vector<uint32_t> latency_ns_;
};

// Memory as the module makes it.
struct Shared {
  Shared() {
    SharedTopics::Sizes sizes;
    memory = mmap(nullptr, SharedTopics::bytes_for(sizes), PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) fail("mmap");
    for (int& each : descriptors) each = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    SharedTopics::lay_out(memory, sizes);
  }
  void* memory;
  int descriptors[2];
};

// Listens on this thread until the last publication; a byte on the descriptor says that it does.
Heard listen(LocalBus& bus, int ready) {
  Loop loop;
  Listener listener(loop);
  if (!bus.any_thread_listen(loop, listener) || !bus.any_thread_subscribe(kTopic))
    fail("bus: no seat");
  loop.any_thread_post([ready] {
    if (write(ready, "", 1) != 1) fail("pipe");
  });
  loop.run();
  return listener.heard();
}

void await_listener(int ready) {
  char byte;
  if (read(ready, &byte, 1) != 1) fail("bus: nobody listens");
}

// The number of publications. A rate of 0 is as fast as it goes.
uint64_t publish(LocalBus& bus, double seconds, double rate) {
  uint8_t payload[kPayload] = {};
  Publication publication;
  publication.topic = kTopic;
  publication.type = Opcode::binary;
  publication.payload = payload;
  uint64_t count = 0, from_ns = now_ns(), end_ns = from_ns + uint64_t(seconds * 1e9);
  for (uint64_t at_ns = from_ns; at_ns < end_ns; at_ns = now_ns()) {
    if (rate > 0 && double(at_ns - from_ns) * rate < double(count) * 1e9) {
      std::this_thread::sleep_for(std::chrono::microseconds(20));
      continue;
    }
    memcpy(payload, &at_ns, sizeof at_ns);
    bus.any_thread_publish(publication, {});
    count++;
  }
  publication.type = Opcode::text;
  bus.any_thread_publish(publication, {});
  return count;
}

struct Run {
  uint64_t published;
  double cpu_us;
  Heard heard;
};

Run to_other_process(double seconds, double rate) {
  Shared shared;
  int ready[2], results[2];
  if (pipe(ready) || pipe(results)) fail("pipe");
  pid_t other = fork();
  if (other < 0) fail("fork");
  if (!other) {
    SharedTopics topics(shared.memory, shared.descriptors);
    LocalBus bus(topics);
    Heard heard = listen(bus, ready[1]);
    _exit(write(results[1], &heard, sizeof heard) != sizeof heard);
  }
  close(ready[1]);
  close(results[1]);
  SharedTopics topics(shared.memory, shared.descriptors);
  LocalBus bus(topics);
  await_listener(ready[0]);
  double cpu_from_us = cpu_us();
  Run run{};
  run.published = publish(bus, seconds, rate);
  run.cpu_us = cpu_us() - cpu_from_us;
  if (read(results[0], &run.heard, sizeof run.heard) != sizeof run.heard) fail("bus: the listener");
  waitpid(other, nullptr, 0);
  return run;
}

Run to_own_process(double seconds, double rate) {
  Shared shared;
  SharedTopics topics(shared.memory, shared.descriptors);
  LocalBus bus(topics);
  int ready[2];
  if (pipe(ready)) fail("pipe");
  Run run{};
  std::thread listener([&] { run.heard = listen(bus, ready[1]); });
  await_listener(ready[0]);
  run.published = publish(bus, seconds, rate);
  listener.join();
  return run;
}

uint64_t lost(const Run& run) { return run.published - run.heard.count + run.heard.missed; }

int throughput(double seconds) {
  Run run = to_other_process(seconds, 0);
  printf("published_s=%.0f lost=%llu publish_cpu_us=%.3f hear_cpu_us=%.3f\n",
         double(run.published) / seconds, static_cast<unsigned long long>(lost(run)),
         run.cpu_us / double(run.published), run.heard.cpu_us / double(run.published));
  return 0;
}

int latency(double seconds, double rate) {
  Run own = to_own_process(seconds, rate), other = to_other_process(seconds, rate);
  printf("published_s=%.0f lost=%llu own_p50_us=%.1f own_p99_us=%.1f p50_us=%.1f p99_us=%.1f\n",
         double(other.published) / seconds,
         static_cast<unsigned long long>(lost(own) + lost(other)), own.heard.p50_us,
         own.heard.p99_us, other.heard.p50_us, other.heard.p99_us);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::string_view mode = argc > 1 ? argv[1] : "";
  if (mode == "throughput" && argc == 3) return throughput(atof(argv[2]));
  if (mode == "latency" && argc == 4) return latency(atof(argv[2]), atof(argv[3]));
  fprintf(stderr, "usage: bus throughput SECONDS\n       bus latency SECONDS RATE\n");
  return 2;
}
