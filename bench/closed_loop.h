// Each connection keeps its number of requests in flight. One thread.
#pragma once
#include <sys/epoll.h>

#include <algorithm>
#include <cstdio>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bench/latency.h"
#include "bench/link.h"
#include "bench/processes.h"

namespace bench {

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
  explicit ClosedLoop(size_t depth) : depth_(depth) {}

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
      if (now_s() - progress_s_ > 5) fail("stalled after %zu replies", latency_.count());
      for (int e = 0; e < count; e++) look_at(events[e].data.u64, events[e].events);
    }
    double took_s = now_s() - from_s, cpu_s = server.cpu_s() - cpu_from_s;
    latency_.print(cpu_s, took_s, peers_[0].link.cipher());
    return latency_.count();
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
      latency_.add_s(then_s - peer.sent_s.front());
      peer.sent_s.pop_front();
    }
    ask(i, count, then_s);
  }

  size_t depth_;
  int epoll_ = epoll_create1(0);
  std::vector<Peer> peers_;
  Latency latency_;
  double progress_s_ = 0;
};

}  // namespace bench
