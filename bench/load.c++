// A closed-loop load generator: one thread, loopback only, ends by itself.
//
//   load echo  PORT PATH CONNECTIONS BYTES DEPTH SECONDS PID   DEPTH binary messages in flight on
//   each load idle  PORT PATH CONNECTIONS PID                       memory of CONNECTIONS that do
//   nothing load churn PORT PATH CLIENTS SECONDS PID                   connect, echo, reset, over
//   and over
//
// Prints one line of key=value. cpu_us is the time that the process PID and its descendants spent,
// user and system, per message or per connection: on a busy machine it holds where throughput does
// not. Memory is the proportional set size of the same processes.
#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "src/protocol/mask.h"

namespace {

double now_s() {
  using namespace std::chrono;
  return duration<double>(steady_clock::now().time_since_epoch()).count();
}

[[noreturn]] void fail(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fprintf(stderr, "load: ");
  vfprintf(stderr, format, arguments);
  fprintf(stderr, "\n");
  exit(1);
}

// --- The server's processes ---

class Processes {
 public:
  explicit Processes(int root) : root_(root) {}

  double cpu_s() const {
    double ticks = 0;
    for (int pid : all()) {
      std::string stat = read("/proc/" + std::to_string(pid) + "/stat");
      size_t name_end = stat.rfind(')');
      unsigned long user = 0, system = 0;
      if (name_end != stat.npos)
        sscanf(stat.c_str() + name_end + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
               &user, &system);
      ticks += double(user + system);
    }
    return ticks / double(sysconf(_SC_CLK_TCK));
  }

  double memory_kb() const {
    double sum = 0;
    for (int pid : all()) {
      std::string rollup = read("/proc/" + std::to_string(pid) + "/smaps_rollup");
      size_t line = rollup.find("\nPss:");
      if (line != rollup.npos) sum += atof(rollup.c_str() + line + 5);
    }
    return sum;
  }

 private:
  static std::string read(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  std::vector<int> all() const {
    std::multimap<int, int> children;
    std::unique_ptr<DIR, int (*)(DIR*)> folder(opendir("/proc"), closedir);
    while (dirent* entry = readdir(folder.get())) {
      int pid = atoi(entry->d_name), parent = 0;
      if (pid <= 0) continue;
      std::string stat = read(std::string("/proc/") + entry->d_name + "/stat");
      size_t name_end = stat.rfind(')');
      if (name_end != stat.npos && sscanf(stat.c_str() + name_end + 1, " %*c %d", &parent) == 1)
        children.emplace(parent, pid);
    }
    std::vector<int> found{root_};
    for (size_t i = 0; i < found.size(); i++)
      for (auto [at, end] = children.equal_range(found[i]); at != end; ++at)
        found.push_back(at->second);
    return found;
  }

  int root_;
};

// --- Connections ---

int dial(int port, size_t number) {
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
    if (bind(descriptor, reinterpret_cast<sockaddr*>(&from), sizeof from)) fail("bind");
  }
  if (connect(descriptor, reinterpret_cast<sockaddr*>(&to), sizeof to))
    fail("connection %zu: %s", number, strerror(errno));
  return descriptor;
}

void open_websocket(int descriptor, const char* path) {
  std::string request = std::string("GET ") + path +
                        " HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
                        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
  if (send(descriptor, request.data(), request.size(), MSG_NOSIGNAL) < 0) fail("send");
  std::string answer;
  for (char byte; !answer.ends_with("\r\n\r\n"); answer += byte)
    if (recv(descriptor, &byte, 1, 0) != 1) fail("no answer to the opening handshake");
  if (answer.compare(0, 13, "HTTP/1.1 101 ")) fail("refused: %.60s", answer.c_str());
}

std::string client_frame(size_t size) {
  std::string frame("\x82", 1);
  size_t extended = size < 126 ? 0 : size < 65536 ? 2 : 8;
  frame += char(0x80 | (extended == 0 ? size : extended == 2 ? 126 : 127));
  for (size_t i = extended; i--;) frame += char(uint64_t(size) >> 8 * i);
  uint32_t key = 0x78563412;
  frame.append(reinterpret_cast<char*>(&key), 4);
  std::vector<uint8_t> payload(size);
  for (size_t i = 0; i < size; i++) payload[i] = uint8_t('a' + i % 26);
  mws::unmask(payload.data(), payload.data(), size, key);
  return frame.append(reinterpret_cast<char*>(payload.data()), size);
}

// Counts replies of a known size, of which it looks at the headers only.
class ReplyCounter {
 public:
  explicit ReplyCounter(size_t payload)
      : reply_bytes_((payload < 126     ? 2
                      : payload < 65536 ? 4
                                        : 10) +
                     payload) {}

  size_t take(const char* bytes, size_t size) {
    size_t count = 0;
    for (size_t at = 0; at < size;) {
      if (had_ == 0 && bytes[at] != '\x82') fail("a reply starts with byte %#x", bytes[at] & 255);
      size_t part = std::min(reply_bytes_ - had_, size - at);
      at += part;
      had_ += part;
      if (had_ == reply_bytes_) had_ = 0, count++;
    }
    return count;
  }

 private:
  size_t reply_bytes_, had_ = 0;
};

// --- Modes ---

struct Peer {
  int descriptor;
  ReplyCounter replies;
  size_t unsent = 0;  // bytes of frames to send
  std::deque<double> sent_s;
};

int echo(int port, const char* path, size_t connections, size_t bytes, size_t depth, double seconds,
         const Processes& server) {
  std::string frame = client_frame(bytes), frames;
  while (frames.size() < std::max<size_t>(depth * frame.size(), 65536)) frames += frame;
  std::vector<Peer> peers;
  int epoll = epoll_create1(0);
  auto watch = [&](size_t i, uint32_t events, int operation) {
    epoll_event event{};
    event.events = events;
    event.data.u64 = i;
    epoll_ctl(epoll, operation, peers[i].descriptor, &event);
  };
  for (size_t i = 0; i < connections; i++) {
    peers.push_back({dial(port, i), ReplyCounter(bytes), 0, {}});
    open_websocket(peers[i].descriptor, path);
    watch(i, EPOLLIN, EPOLL_CTL_ADD);
  }

  auto send_some = [&](size_t i) {
    Peer& peer = peers[i];
    while (peer.unsent) {
      // Where in the run of equal frames the rest begins.
      size_t into = (frame.size() - peer.unsent % frame.size()) % frame.size();
      size_t size = std::min(peer.unsent, frames.size() - into);
      ssize_t sent = send(peer.descriptor, frames.data() + into, size, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent < 0 && errno != EAGAIN) fail("send: %s", strerror(errno));
      if (sent < 0) return watch(i, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
      peer.unsent -= size_t(sent);
      if (!peer.unsent && size_t(sent) != size) watch(i, EPOLLIN, EPOLL_CTL_MOD);
    }
  };
  auto ask = [&](size_t i, size_t messages, double at_s) {
    peers[i].unsent += messages * frame.size();
    peers[i].sent_s.insert(peers[i].sent_s.end(), messages, at_s);
    send_some(i);
  };

  std::vector<double> latency_s;
  latency_s.reserve(1 << 22);
  double from_s = now_s(), cpu_from_s = server.cpu_s(), progress_s = from_s;
  for (size_t i = 0; i < connections; i++) ask(i, depth, from_s);
  static char buffer[1 << 20];
  for (double at_s = from_s; at_s - from_s < seconds;) {
    epoll_event events[512];
    int count = epoll_wait(epoll, events, 512, 1000);
    at_s = now_s();
    if (at_s - progress_s > 5) fail("stalled after %zu messages", latency_s.size());
    for (int e = 0; e < count; e++) {
      size_t i = events[e].data.u64;
      if (events[e].events & EPOLLOUT) {
        watch(i, EPOLLIN, EPOLL_CTL_MOD);
        send_some(i);
      }
      if (!(events[e].events & ~uint32_t(EPOLLOUT))) continue;
      ssize_t size = recv(peers[i].descriptor, buffer, sizeof buffer, MSG_DONTWAIT);
      if (size < 0 && errno == EAGAIN) continue;
      if (size <= 0) fail("connection lost");
      size_t messages = peers[i].replies.take(buffer, size_t(size));
      if (!messages) continue;
      double then_s = progress_s = now_s();
      for (size_t m = 0; m < messages; m++) {
        latency_s.push_back(then_s - peers[i].sent_s.front());
        peers[i].sent_s.pop_front();
      }
      ask(i, messages, then_s);
    }
  }
  double took_s = now_s() - from_s, cpu_s = server.cpu_s() - cpu_from_s;
  std::sort(latency_s.begin(), latency_s.end());
  auto percentile = [&](double part) {
    return latency_s.empty() ? 0 : 1e6 * latency_s[size_t(part * double(latency_s.size() - 1))];
  };
  printf("cpu_us=%.4f messages_s=%.0f p50_us=%.0f p99_us=%.0f\n",
         1e6 * cpu_s / double(latency_s.size()), double(latency_s.size()) / took_s, percentile(.5),
         percentile(.99));
  return 0;
}

int idle(int port, const char* path, size_t connections, const Processes& server) {
  int first = dial(port, 0);  // so that what one connection starts is there before
  open_websocket(first, path);
  double before_kb = server.memory_kb(), from_s = now_s();
  std::vector<int> open;
  for (size_t i = 0; i < connections; i++) {
    open.push_back(dial(port, i));
    open_websocket(open[i], path);
  }
  double took_s = now_s() - from_s, after_kb = server.memory_kb();
  std::string frame = client_frame(16);
  for (size_t i = 0; i < connections; i += 97) {  // they live
    char reply[18];
    if (send(open[i], frame.data(), frame.size(), MSG_NOSIGNAL) < 0 ||
        recv(open[i], reply, sizeof reply, MSG_WAITALL) != sizeof reply)
      fail("connection %zu does not answer", i);
  }
  printf("kb=%.3f connections=%zu opened_s=%.1f\n", (after_kb - before_kb) / double(connections),
         connections, took_s);
  return 0;
}

int churn(int port, const char* path, size_t clients, double seconds, const Processes& server) {
  std::string frame = client_frame(64);
  size_t done = 0;
  double from_s = now_s(), cpu_from_s = server.cpu_s();
  while (now_s() - from_s < seconds) {
    std::vector<int> open;
    for (size_t i = 0; i < clients; i++) open.push_back(dial(port, i));
    for (int descriptor : open) open_websocket(descriptor, path);
    for (int descriptor : open) send(descriptor, frame.data(), frame.size(), MSG_NOSIGNAL);
    for (int descriptor : open) {
      char reply[66];
      if (recv(descriptor, reply, sizeof reply, MSG_WAITALL) != sizeof reply) fail("no echo");
      linger reset{1, 0};
      setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
      close(descriptor);
      done++;
    }
  }
  double took_s = now_s() - from_s;
  printf("cpu_us=%.1f connections=%zu connections_s=%.0f\n",
         1e6 * (server.cpu_s() - cpu_from_s) / double(done), done, double(done) / took_s);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);

  std::string mode = argc > 1 ? argv[1] : "";
  auto number = [&](int i) { return strtoul(argv[i], nullptr, 10); };
  auto port = [&] { return atoi(argv[2]); };
  if (mode == "echo" && argc == 9)
    return echo(port(), argv[3], number(4), number(5), number(6), atof(argv[7]),
                Processes(atoi(argv[8])));
  if (mode == "idle" && argc == 6)
    return idle(port(), argv[3], number(4), Processes(atoi(argv[5])));
  if (mode == "churn" && argc == 7)
    return churn(port(), argv[3], number(4), atof(argv[5]), Processes(atoi(argv[6])));
  fprintf(stderr,
          "usage: load echo PORT PATH CONNECTIONS BYTES DEPTH SECONDS PID\n"
          "       load idle PORT PATH CONNECTIONS PID\n"
          "       load churn PORT PATH CLIENTS SECONDS PID\n");
  return 2;
}
