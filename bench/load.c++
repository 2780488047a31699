// A load generator: one thread, loopback only, ends by itself.
//
//   load [--tls] [--children N] MODE PORT PATH WORDS
//
// With --children many connections are opened at a time, so that all N children of a server get
// some; echo opens them anew until they have. The modes, and their words:
//
//   echo CONNECTIONS BYTES DEPTH SECONDS PID
//       DEPTH binary messages in flight on each WebSocket
//   paced CONNECTIONS BYTES RATE SECONDS PID
//       RATE binary messages a second, spread over the WebSockets, whether answered or not
//   deflate CONNECTIONS SECONDS PID
//       a JSON text of 1 KB, another on each WebSocket, compressed, in flight; reply_bytes is what
//       an answer takes, compressed
//   idle CONNECTIONS PID
//       memory of CONNECTIONS WebSockets that do nothing
//   pings CONNECTIONS SECONDS PID
//       CONNECTIONS WebSockets that answer the server's pings and do nothing else; share is what
//       the server needs of a processor
//   churn CLIENTS SECONDS PID
//       connect, upgrade, echo, reset, over and over
//   get CLIENTS SECONDS PID
//       connect, GET an empty file, reset, over and over
//   hold CONNECTIONS
//       opens CONNECTIONS WebSockets, says so, and holds them until its standard input ends
//   http CONNECTIONS SECONDS PID
//       one GET in flight on each connection; the server must keep them alive for any number
//   fanout SUBSCRIBERS BYTES SECONDS PID
//       WebSockets to a topic, and a binary message published through one of them, again whenever
//       all have got it; once for each line of standard input, each of which it answers with one
//   fanout-deflate SUBSCRIBERS SECONDS PID
//       the same with a JSON text of 1 KB, compressed; reply_bytes as above
//
// Prints one line of key=value. cpu_us is the time that the process PID and its descendants spent,
// user and system, per message, delivery, connection or request: on a busy machine it holds where
// throughput does not. Memory is the proportional set size of the same processes.

#include <algorithm>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

#include "bench/closed_loop.h"
#include "bench/fanout.h"
#include "bench/messages.h"
#include "bench/paced_loop.h"
#include "bench/processes.h"
#include "bench/target.h"
#include "bench/watch.h"

namespace {

using namespace bench;

constexpr char kCompression[] = "Sec-WebSocket-Extensions: permessage-deflate\r\n";

// How many sockets each process has of those that serve connections: that have a 20th of them at
// least.
std::vector<size_t> spread(const Processes& server, size_t connections) {
  return server.sockets(std::max<size_t>(2, connections / 20));
}

void print_spread(const Processes& server, size_t connections) {
  auto sockets = spread(server, connections);
  printf("processes=%zu fewest=%zu\n", sockets.size(),
         sockets.empty() ? 0 : *std::min_element(sockets.begin(), sockets.end()));
}

// Which child takes a connection is left to chance, so a few attempts may be needed.
std::vector<Link> open_spread(const Target& target, size_t connections, const Processes& server) {
  for (int attempts = 50; attempts--;) {
    std::vector<Link> open = target.open_many(connections);
    if (spread(server, connections).size() >= target.children) return open;
    for (Link& link : open) link.reset();
  }
  fail("%zu children do not share the connections", target.children);
}

int echo(const Target& target, size_t connections, size_t bytes, size_t depth, double seconds,
         const Processes& server) {
  ClosedLoop<ReplyCounter> loop(depth);
  auto requests = std::make_shared<Requests>(client_frame(bytes), depth);
  for (Link& link : open_spread(target, connections, server))
    loop.add(std::move(link), ReplyCounter(bytes), requests);
  loop.run(seconds, server);
  print_spread(server, connections);
  return 0;
}

int paced(const Target& target, size_t connections, size_t bytes, double rate, double seconds,
          const Processes& server) {
  PacedLoop<ReplyCounter> loop(client_frame(bytes));
  for (Link& link : target.open_many(connections)) loop.add(std::move(link), ReplyCounter(bytes));
  loop.run(rate, seconds, server);
  return 0;
}

int deflate(const Target& target, size_t connections, double seconds, const Processes& server) {
  ClosedLoop<DeflatedCounter> loop(1);
  uint64_t bytes = 0;
  size_t number = 0;
  for (Link& link : target.open_many(connections, kCompression))
    loop.add(std::move(link), DeflatedCounter(bytes),
             std::make_shared<Requests>(deflated_json_frame(number++), 1));
  size_t replies = loop.run(seconds, server);
  printf("reply_bytes=%.1f\n", double(bytes) / double(replies));
  return 0;
}

int http(const Target& target, size_t connections, double seconds, const Processes& server) {
  ClosedLoop<ResponseCounter> loop(1);
  auto requests = std::make_shared<Requests>(target.request(), 1);
  for (size_t i = 0; i < connections; i++) loop.add(target.connect(i), ResponseCounter(), requests);
  loop.run(seconds, server);
  return 0;
}

// Waits until the server has let go of them too: httpd's event MPM (2.4.71) may crash when it is
// told to stop while its threads end connections.
void leave(std::vector<Link>& open, const Processes& server) {
  constexpr size_t kOwn = 8;  // more sockets than a process has without clients
  for (Link& link : open) link.reset();
  for (double from_s = now_s(); !server.sockets(kOwn).empty(); usleep(10'000))
    if (now_s() - from_s > kWait_ms / 1000) fail("the server does not let go of connections");
}

int idle(const Target& target, size_t connections, const Processes& server) {
  Link first = target.open_websocket(0);  // so that what one connection starts is there before
  double before_kb = server.memory_kb(), from_s = now_s();
  std::vector<Link> open = target.open_many(connections);
  double took_s = now_s() - from_s, after_kb = server.memory_kb();
  std::string frame = client_frame(16);
  for (size_t i = 0; i < connections; i += 97) {  // they live
    char reply[18];
    open[i].send_all(frame);
    open[i].receive_all(reply, sizeof reply);
  }
  leave(open, server);
  printf("kb=%.3f connections=%zu opened_s=%.1f cipher=%s\n",
         (after_kb - before_kb) / double(connections), connections, took_s, first.cipher().c_str());
  return 0;
}

// As the server frames them here: one at a time, with four bytes.
int pings(const Target& target, size_t connections, double seconds, const Processes& server) {
  std::vector<Link> open = target.open_many(connections);
  Watch watch;
  for (size_t i = 0; i < connections; i++) watch.add(open[i].descriptor(), i);
  constexpr size_t kPing = 6;
  size_t answered = 0;
  double from_s = now_s(), cpu_from_s = server.cpu_s();
  while (now_s() - from_s < seconds) {
    watch.each(100, [&](size_t number) {
      Link& link = open[number];
      char frame[kPing];
      link.receive_all(frame, sizeof frame);
      if (std::string_view(frame, 2) != "\x89\x04") fail("not a ping");
      link.send_all(client_frame(0x8a, std::string(frame + 2, 4)));
      answered++;
    });
  }
  double took_s = now_s() - from_s, cpu_s = server.cpu_s() - cpu_from_s;
  printf("cpu_us=%.2f pings_s=%.0f share=%.5f connections=%zu\n",
         1e6 * cpu_s / double(std::max<size_t>(answered, 1)), double(answered) / took_s,
         cpu_s / took_s, connections);
  return 0;
}

// Clients that come and vanish over and over; what each does is given for all that are there at a
// time.
template <class Visit>
int come_and_go(const Target& target, size_t clients, double seconds, const Processes& server,
                Visit visit) {
  size_t done = 0;
  double from_s = now_s(), cpu_from_s = server.cpu_s();
  while (now_s() - from_s < seconds) {
    std::vector<Link> open;
    for (size_t i = 0; i < clients; i++) open.push_back(target.connect(i));
    visit(open);
    for (Link& link : open) link.reset();
    done += clients;
  }
  double took_s = now_s() - from_s;
  printf("cpu_us=%.1f connections=%zu connections_s=%.0f\n",
         1e6 * (server.cpu_s() - cpu_from_s) / double(done), done, double(done) / took_s);
  return 0;
}

int churn(const Target& target, size_t clients, double seconds, const Processes& server) {
  return come_and_go(target, clients, seconds, server,
                     [&, frame = client_frame(64)](std::vector<Link>& open) {
                       for (Link& link : open) target.open(link);
                       for (Link& link : open) link.send_all(frame);
                       char reply[66];
                       for (Link& link : open) link.receive_all(reply, sizeof reply);
                     });
}

int get(const Target& target, size_t clients, double seconds, const Processes& server) {
  return come_and_go(target, clients, seconds, server, [&](std::vector<Link>& open) {
    for (Link& link : open) target.get_empty(link);
  });
}

int hold(const Target& target, size_t connections) {
  std::vector<Link> open = target.open_many(connections);
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
  FanOut<Counter> all;
  for (Link& link : target.open_many(subscribers, headers)) {
    ping(link);
    all.add(std::move(link), counter);
  }
  return all;
}

int fanout(const Target& target, size_t subscribers, size_t bytes, double seconds,
           const Processes& server) {
  auto all = subscribe(target, subscribers, ReplyCounter(bytes), "");
  for (char line[2]; fgets(line, sizeof line, stdin);) {
    all.run(client_frame(bytes), seconds, server);
    print_spread(server, subscribers);
    fflush(stdout);
  }
  all.reset();
  return 0;
}

int fanout_deflate(const Target& target, size_t subscribers, double seconds,
                   const Processes& server) {
  uint64_t bytes = 0, before = 0;
  auto all = subscribe(target, subscribers, DeflatedCounter(bytes), kCompression);
  for (char line[2]; fgets(line, sizeof line, stdin); before = bytes) {
    size_t deliveries = all.run(deflated_json_frame(0), seconds, server);
    printf("reply_bytes=%.1f\n", double(bytes - before) / double(deliveries));
    fflush(stdout);
  }
  all.reset();
  return 0;
}

// --- The command line ---

struct Arguments {
  const Target& target;
  const std::vector<const char*>& words;  // those of the mode
  const Processes& server;

  size_t number(size_t i) const { return strtoul(words[i], nullptr, 10); }
  double real(size_t i) const { return atof(words[i]); }
};

using A = Arguments;

struct Mode {
  const char *name, *words;  // the latter parted by single spaces
  int (*run)(const A&);

  size_t count() const { return 1 + size_t(std::count(words, words + strlen(words), ' ')); }
};

const Mode kModes[] = {
    {"echo", "CONNECTIONS BYTES DEPTH SECONDS PID",
     [](const A& a) {
       return echo(a.target, a.number(0), a.number(1), a.number(2), a.real(3), a.server);
     }},
    {"paced", "CONNECTIONS BYTES RATE SECONDS PID",
     [](const A& a) {
       return paced(a.target, a.number(0), a.number(1), a.real(2), a.real(3), a.server);
     }},
    {"deflate", "CONNECTIONS SECONDS PID",
     [](const A& a) { return deflate(a.target, a.number(0), a.real(1), a.server); }},
    {"idle", "CONNECTIONS PID", [](const A& a) { return idle(a.target, a.number(0), a.server); }},
    {"pings", "CONNECTIONS SECONDS PID",
     [](const A& a) { return pings(a.target, a.number(0), a.real(1), a.server); }},
    {"churn", "CLIENTS SECONDS PID",
     [](const A& a) { return churn(a.target, a.number(0), a.real(1), a.server); }},
    {"get", "CLIENTS SECONDS PID",
     [](const A& a) { return get(a.target, a.number(0), a.real(1), a.server); }},
    {"hold", "CONNECTIONS", [](const A& a) { return hold(a.target, a.number(0)); }},
    {"http", "CONNECTIONS SECONDS PID",
     [](const A& a) { return http(a.target, a.number(0), a.real(1), a.server); }},
    {"fanout", "SUBSCRIBERS BYTES SECONDS PID",
     [](const A& a) { return fanout(a.target, a.number(0), a.number(1), a.real(2), a.server); }},
    {"fanout-deflate", "SUBSCRIBERS SECONDS PID",
     [](const A& a) { return fanout_deflate(a.target, a.number(0), a.real(1), a.server); }},
};

int usage() {
  for (const Mode& mode : kModes)
    fprintf(stderr, "%s load [--tls] [--children N] %s PORT PATH %s\n",
            &mode == kModes ? "usage:" : "      ", mode.name, mode.words);
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  allow_descriptors();

  std::vector<const char*> words(argv + 1, argv + argc);
  auto option = [&](std::string_view name) {
    bool given = !words.empty() && words[0] == name;
    if (given) words.erase(words.begin());
    return given;
  };
  bool tls = option("--tls");
  size_t children = 1;
  if (option("--children") && !words.empty()) {
    children = strtoul(words[0], nullptr, 10);
    words.erase(words.begin());
  }
  if (words.size() < 3) return usage();
  std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context(tls ? make_tls_context() : nullptr,
                                                       SSL_CTX_free);
  Target target{atoi(words[1]), words[2], context.get(), children};
  std::string_view name = words[0];
  words.erase(words.begin(), words.begin() + 3);
  for (const Mode& mode : kModes)
    if (name == mode.name && words.size() == mode.count())
      return mode.run({target, words, Processes(atoi(words.back()))});
  return usage();
}
