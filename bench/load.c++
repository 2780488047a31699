// A load generator: one thread, loopback only, ends by itself.
//
//   load [--tls] echo  PORT PATH CONNECTIONS BYTES DEPTH SECONDS PID
//       DEPTH binary messages in flight on each WebSocket
//   load [--tls] deflate PORT PATH CONNECTIONS SECONDS PID
//       a JSON text of 1 KB, another on each WebSocket, compressed, in flight; reply_bytes is what
//       an answer takes, compressed
//   load [--tls] idle  PORT PATH CONNECTIONS PID
//       memory of CONNECTIONS WebSockets that do nothing
//   load [--tls] pings PORT PATH CONNECTIONS SECONDS PID
//       CONNECTIONS WebSockets that answer the server's pings and do nothing else; share is what
//       the server needs of a processor
//   load [--tls] churn PORT PATH CLIENTS SECONDS PID
//       connect, upgrade, echo, reset, over and over
//   load [--tls] hold  PORT PATH CONNECTIONS
//       opens CONNECTIONS WebSockets, says so, and holds them until its standard input ends
//   load [--tls] http  PORT PATH CONNECTIONS SECONDS PID
//       one GET in flight on each connection; the server must keep them alive for any number
//   load fanout  PORT PATH SUBSCRIBERS BYTES SECONDS PID
//       WebSockets to a topic, and a binary message published through one of them, again whenever
//       all have got it; once for each line of standard input, each of which it answers with one
//   load fanout-deflate PORT PATH SUBSCRIBERS SECONDS PID
//       the same with a JSON text of 1 KB, compressed; reply_bytes as above
//
// Prints one line of key=value. cpu_us is the time that the process PID and its descendants spent,
// user and system, per message, delivery, connection or request: on a busy machine it holds where
// throughput does not. Memory is the proportional set size of the same processes.
#include <sys/epoll.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <memory>
#include <vector>

#include "bench/fanout.h"
#include "bench/link.h"
#include "bench/messages.h"
#include "bench/processes.h"

namespace {

using namespace bench;

double now_s() {
  using namespace std::chrono;
  return duration<double>(steady_clock::now().time_since_epoch()).count();
}

struct Target {
  int port;
  const char* path;
  SSL_CTX* tls;  // null for plain TCP

  Link connect(size_t number) const { return Link(port, number, tls); }

  void open(Link& link, const char* headers = "") const {
    ask(link, headers);
    await_open(link, headers);
  }

  void ask(Link& link, const char* headers) const {
    link.send_all(std::string("GET ") + path +
                  " HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
                  "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
                  headers + "\r\n");
  }

  void await_open(Link& link, const char* headers) const {
    std::string answer;
    for (char byte; !answer.ends_with("\r\n\r\n"); answer += byte) link.receive_all(&byte, 1);
    if (!answer.starts_with("HTTP/1.1 101 ")) fail("refused: %.60s", answer.c_str());
    if (*headers && answer.find("permessage-deflate") == answer.npos) fail("no compression");
  }

  Link open_websocket(size_t number) const {
    Link link = connect(number);
    open(link);
    return link;
  }
};

// Certificates are not verified.
SSL_CTX* make_tls_context() {
  SSL_CTX* context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_read_ahead(context, 1);
  return context;
}

// --- The closed loop: each connection keeps its number of requests in flight ---

// A run of equal requests, so that many go in one write.
struct Requests {
  explicit Requests(const std::string& one, size_t depth) : size(one.size()) {
    while (run.size() < std::max<size_t>(depth * size, depth > 1 ? 65536 : 1)) run += one;
  }
  size_t size;  // of one
  std::string run;
};

template <class Counter>
class ClosedLoop {
 public:
  explicit ClosedLoop(size_t depth) : depth_(depth) { latency_s_.reserve(1 << 22); }

  void add(Link link, Counter counter, std::shared_ptr<const Requests> requests) {
    peers_.push_back({std::move(link), std::move(counter), std::move(requests), 0, false, {}});
    watch(peers_.size() - 1, EPOLLIN, EPOLL_CTL_ADD);
  }

  // The number of replies.
  size_t run(double seconds, const Processes& server) {
    double from_s = now_s(), cpu_from_s = server.cpu_s();
    for (size_t i = 0; i < peers_.size(); i++) ask(i, depth_, from_s);
    progress_s_ = from_s;
    for (double at_s = from_s; at_s - from_s < seconds; at_s = now_s()) {
      epoll_event events[512];
      int count = epoll_wait(epoll_, events, 512, 1000);
      if (now_s() - progress_s_ > 5) fail("stalled after %zu replies", latency_s_.size());
      for (int e = 0; e < count; e++) look_at(events[e].data.u64, events[e].events);
    }
    double took_s = now_s() - from_s, cpu_s = server.cpu_s() - cpu_from_s;
    std::sort(latency_s_.begin(), latency_s_.end());
    printf("cpu_us=%.4f replies_s=%.0f p50_us=%.0f p99_us=%.0f cipher=%s\n",
           1e6 * cpu_s / double(latency_s_.size()), double(latency_s_.size()) / took_s,
           percentile_us(.5), percentile_us(.99), peers_[0].link.cipher().c_str());
    return latency_s_.size();
  }

 private:
  struct Peer {
    Link link;
    Counter replies;
    std::shared_ptr<const Requests> requests;
    size_t unsent;  // bytes of requests
    bool watched_for_room;
    std::deque<double> sent_s;
  };

  void watch(size_t i, uint32_t events, int operation) {
    epoll_event event{};
    event.events = events;
    event.data.u64 = i;
    epoll_ctl(epoll_, operation, peers_[i].link.descriptor(), &event);
  }

  void ask(size_t i, size_t count, double at_s) {
    peers_[i].unsent += count * peers_[i].requests->size;
    peers_[i].sent_s.insert(peers_[i].sent_s.end(), count, at_s);
    send_some(i);
  }

  void send_some(size_t i) {
    Peer& peer = peers_[i];
    const auto& [one, run] = *peer.requests;
    while (peer.unsent && !peer.link.full()) {
      size_t into = (one - peer.unsent % one) % one;  // where in the run the rest begins
      size_t size = std::min(peer.unsent, run.size() - into);
      peer.unsent -= peer.link.send(run.data() + into, size);
    }
    if (peer.link.full() == peer.watched_for_room) return;
    peer.watched_for_room = peer.link.full();
    watch(i, peer.watched_for_room ? EPOLLIN | EPOLLOUT : EPOLLIN, EPOLL_CTL_MOD);
  }

  void look_at(size_t i, uint32_t events) {
    Peer& peer = peers_[i];
    if (events & EPOLLOUT) {
      peer.link.flush();
      send_some(i);
    }
    if (!(events & ~uint32_t(EPOLLOUT))) return;
    static char buffer[1 << 20];
    ssize_t size = peer.link.receive(buffer, sizeof buffer);
    if (size < 0) return;
    if (size == 0) fail("connection lost");
    size_t count = peer.replies.take(buffer, size_t(size));
    if (!count) return;
    double then_s = progress_s_ = now_s();
    for (size_t k = 0; k < count; k++) {
      latency_s_.push_back(then_s - peer.sent_s.front());
      peer.sent_s.pop_front();
    }
    ask(i, count, then_s);
  }

  double percentile_us(double part) const {
    if (latency_s_.empty()) return 0;
    return 1e6 * latency_s_[size_t(part * double(latency_s_.size() - 1))];
  }

  size_t depth_;
  int epoll_ = epoll_create1(0);
  std::vector<Peer> peers_;
  std::vector<double> latency_s_;  // sorted when all is over
  double progress_s_ = 0;
};

// --- Modes ---

int echo(const Target& target, size_t connections, size_t bytes, size_t depth, double seconds,
         const Processes& server) {
  ClosedLoop<ReplyCounter> loop(depth);
  auto requests = std::make_shared<Requests>(client_frame(bytes), depth);
  for (size_t i = 0; i < connections; i++)
    loop.add(target.open_websocket(i), ReplyCounter(bytes), requests);
  loop.run(seconds, server);
  return 0;
}

int deflate(const Target& target, size_t connections, double seconds, const Processes& server) {
  ClosedLoop<DeflatedCounter> loop(1);
  uint64_t bytes = 0;
  for (size_t i = 0; i < connections; i++) {
    Link link = target.connect(i);
    target.open(link, "Sec-WebSocket-Extensions: permessage-deflate\r\n");
    loop.add(std::move(link), DeflatedCounter(bytes),
             std::make_shared<Requests>(deflated_json_frame(i), 1));
  }
  size_t replies = loop.run(seconds, server);
  printf("reply_bytes=%.1f\n", double(bytes) / double(replies));
  return 0;
}

int http(const Target& target, size_t connections, double seconds, const Processes& server) {
  ClosedLoop<ResponseCounter> loop(1);
  auto requests = std::make_shared<Requests>(
      std::string("GET ") + target.path + " HTTP/1.1\r\nHost: localhost\r\n\r\n", 1);
  for (size_t i = 0; i < connections; i++) loop.add(target.connect(i), ResponseCounter(), requests);
  loop.run(seconds, server);
  return 0;
}

std::vector<Link> open_many(const Target& target, size_t connections) {
  std::vector<Link> open;
  open.reserve(connections);
  for (size_t i = 0; i < connections; i++) open.push_back(target.open_websocket(i));
  return open;
}

int idle(const Target& target, size_t connections, const Processes& server) {
  Link first = target.open_websocket(0);  // so that what one connection starts is there before
  double before_kb = server.memory_kb(), from_s = now_s();
  std::vector<Link> open = open_many(target, connections);
  double took_s = now_s() - from_s, after_kb = server.memory_kb();
  std::string frame = client_frame(16);
  for (size_t i = 0; i < connections; i += 97) {  // they live
    char reply[18];
    open[i].send_all(frame);
    open[i].receive_all(reply, sizeof reply);
  }
  printf("kb=%.3f connections=%zu opened_s=%.1f cipher=%s\n",
         (after_kb - before_kb) / double(connections), connections, took_s, first.cipher().c_str());
  return 0;
}

// As the server frames them here: one at a time, with four bytes.
int pings(const Target& target, size_t connections, double seconds, const Processes& server) {
  std::vector<Link> open = open_many(target, connections);
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  for (size_t i = 0; i < connections; i++) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = i;
    epoll_ctl(epoll, EPOLL_CTL_ADD, open[i].descriptor(), &event);
  }
  constexpr size_t kPing = 6;
  size_t answered = 0;
  double from_s = now_s(), cpu_from_s = server.cpu_s();
  while (now_s() - from_s < seconds) {
    epoll_event events[256];
    int count = epoll_wait(epoll, events, 256, 100);
    for (int i = 0; i < count; i++) {
      Link& link = open[events[i].data.u64];
      char frame[kPing];
      link.receive_all(frame, sizeof frame);
      if (std::string_view(frame, 2) != "\x89\x04") fail("not a ping");
      link.send_all(client_frame(0x8a, std::string(frame + 2, 4)));
      answered++;
    }
  }
  double took_s = now_s() - from_s, cpu_s = server.cpu_s() - cpu_from_s;
  close(epoll);
  printf("cpu_us=%.2f pings_s=%.0f share=%.5f connections=%zu\n",
         1e6 * cpu_s / double(std::max<size_t>(answered, 1)), double(answered) / took_s,
         cpu_s / took_s, connections);
  return 0;
}

int churn(const Target& target, size_t clients, double seconds, const Processes& server) {
  std::string frame = client_frame(64);
  size_t done = 0;
  double from_s = now_s(), cpu_from_s = server.cpu_s();
  while (now_s() - from_s < seconds) {
    std::vector<Link> open;
    for (size_t i = 0; i < clients; i++) open.push_back(target.connect(i));
    for (Link& link : open) target.open(link);
    for (Link& link : open) link.send_all(frame);
    for (Link& link : open) {
      char reply[66];
      link.receive_all(reply, sizeof reply);
      link.reset();
      done++;
    }
  }
  double took_s = now_s() - from_s;
  printf("cpu_us=%.1f connections=%zu connections_s=%.0f\n",
         1e6 * (server.cpu_s() - cpu_from_s) / double(done), done, double(done) / took_s);
  return 0;
}

int hold(const Target& target, size_t connections) {
  std::vector<Link> open = open_many(target, connections);
  printf("connections=%zu\n", connections);
  fflush(stdout);
  while (getchar() != EOF) {
  }
  for (Link& link : open) {
    char byte;
    ssize_t size = link.receive(&byte, 1);
    if (size == 0 || (size > 0 && byte == '\x88')) fail("the server closed a held connection");
  }
  return 0;
}

// Once it has been answered, the server has told the handler of the connection.
void ping(Link& link) {
  char pong[2];
  link.send_all(client_frame(0x89, ""));
  link.receive_all(pong, sizeof pong);
  if (pong[0] != '\x8a' || pong[1]) fail("a ping was not answered");
}

template <class Counter>
FanOut<Counter> subscribe(const Target& target, size_t subscribers, const Counter& counter,
                          const char* headers) {
  constexpr size_t kAtOnce = 64;  // more than one child has threads for, so that all get some
  FanOut<Counter> all;
  for (size_t i = 0; i < subscribers;) {
    std::vector<Link> open;
    for (; open.size() < kAtOnce && i < subscribers; i++) open.push_back(target.connect(i));
    for (Link& link : open) target.ask(link, headers);
    for (Link& link : open) {
      target.await_open(link, headers);
      ping(link);
      all.add(std::move(link), counter);
    }
  }
  return all;
}

int fanout(const Target& target, size_t subscribers, size_t bytes, double seconds,
           const Processes& server) {
  auto all = subscribe(target, subscribers, ReplyCounter(bytes), "");
  for (char line[2]; fgets(line, sizeof line, stdin);) {
    all.run(client_frame(bytes), seconds, server);
    // Of those that serve the connections.
    auto sockets = server.sockets(subscribers / 100);
    printf("processes=%zu fewest=%zu\n", sockets.size(),
           sockets.empty() ? 0 : *std::min_element(sockets.begin(), sockets.end()));
    fflush(stdout);
  }
  all.reset();
  return 0;
}

int fanout_deflate(const Target& target, size_t subscribers, double seconds,
                   const Processes& server) {
  uint64_t bytes = 0, before = 0;
  auto all = subscribe(target, subscribers, DeflatedCounter(bytes),
                       "Sec-WebSocket-Extensions: permessage-deflate\r\n");
  for (char line[2]; fgets(line, sizeof line, stdin); before = bytes) {
    size_t deliveries = all.run(deflated_json_frame(0), seconds, server);
    printf("reply_bytes=%.1f\n", double(bytes - before) / double(deliveries));
    fflush(stdout);
  }
  all.reset();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);

  bool tls = argc > 1 && std::string_view(argv[1]) == "--tls";
  std::vector<const char*> words(argv + 1 + tls, argv + argc);
  words.resize(std::max<size_t>(words.size(), 3), "");
  std::string mode = words[0];
  size_t count = words.size();
  auto number = [&](size_t i) { return strtoul(words[i], nullptr, 10); };
  std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context(tls ? make_tls_context() : nullptr,
                                                       SSL_CTX_free);
  Target target{int(number(1)), words[2], context.get()};
  if (mode == "echo" && count == 8)
    return echo(target, number(3), number(4), number(5), atof(words[6]), Processes(atoi(words[7])));
  if (mode == "deflate" && count == 6)
    return deflate(target, number(3), atof(words[4]), Processes(atoi(words[5])));
  if (mode == "idle" && count == 5) return idle(target, number(3), Processes(atoi(words[4])));
  if (mode == "pings" && count == 6)
    return pings(target, number(3), atof(words[4]), Processes(atoi(words[5])));
  if (mode == "churn" && count == 6)
    return churn(target, number(3), atof(words[4]), Processes(atoi(words[5])));
  if (mode == "hold" && count == 4) return hold(target, number(3));
  if (mode == "http" && count == 6)
    return http(target, number(3), atof(words[4]), Processes(atoi(words[5])));
  if (mode == "fanout" && count == 7)
    return fanout(target, number(3), number(4), atof(words[5]), Processes(atoi(words[6])));
  if (mode == "fanout-deflate" && count == 6)
    return fanout_deflate(target, number(3), atof(words[4]), Processes(atoi(words[5])));
  fprintf(stderr,
          "usage: load [--tls] echo PORT PATH CONNECTIONS BYTES DEPTH SECONDS PID\n"
          "       load [--tls] deflate PORT PATH CONNECTIONS SECONDS PID\n"
          "       load [--tls] idle PORT PATH CONNECTIONS PID\n"
          "       load [--tls] pings PORT PATH CONNECTIONS SECONDS PID\n"
          "       load [--tls] churn PORT PATH CLIENTS SECONDS PID\n"
          "       load [--tls] hold PORT PATH CONNECTIONS\n"
          "       load [--tls] http PORT PATH CONNECTIONS SECONDS PID\n"
          "       load fanout PORT PATH SUBSCRIBERS BYTES SECONDS PID\n"
          "       load fanout-deflate PORT PATH SUBSCRIBERS SECONDS PID\n");
  return 2;
}
