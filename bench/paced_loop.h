// An open loop: messages leave at a fixed rate, whether those before have been answered or not.
// Latency counts from when a message was due, so that what a slow answer holds up is not forgotten.
// It never sleeps, lest waking up is what is measured. One thread.
#pragma once
#include <algorithm>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "bench/latency.h"
#include "bench/link.h"
#include "bench/processes.h"
#include "bench/watch.h"

namespace bench {

template <class Counter>
class PacedLoop {
 public:
  // The message that is sent over and over.
  explicit PacedLoop(std::string message) : message_(std::move(message)) {}

  void add(Link link, Counter counter) {
    watch_.add(link.descriptor(), peers_.size());
    peers_.push_back({std::move(link), std::move(counter), {}});
  }

  void run(double rate, double seconds, const Processes& server) {
    size_t total = std::max<size_t>(1, size_t(rate * seconds)), sent = 0;
    per_stretch_ = size_t(rate * .05);
    double cpu_from_s = server.cpu_s(), from_s = now_s();
    for (progress_s_ = from_s; latency_.count() < total;) {
      double due = std::min(double(total), (now_s() - from_s) * rate);
      for (; double(sent) < due; sent++) send(sent, from_s + double(sent) / rate);
      receive_some();
      if (now_s() - progress_s_ > 5) fail("stalled after %zu replies", latency_.count());
    }
    double took_s = now_s() - from_s, cpu_s = server.cpu_s() - cpu_from_s;
    if (stretches_.empty()) end_stretch();
    latency_.print(cpu_s, took_s, peers_[0].link.cipher());
    printf("usual_p99_us=%.1f\n", 1e6 * percentile(stretches_, .5));
  }

 private:
  struct Peer {
    Link link;
    Counter replies;
    std::deque<double> due_s;
  };

  void send(size_t number, double due_s) {
    Peer& peer = peers_[number % peers_.size()];
    peer.due_s.push_back(due_s);
    peer.link.send(message_.data(), message_.size());
    if (peer.link.full()) fail("the server reads too slowly for this rate");
  }

  void receive_some() {
    watch_.each(0, [&](size_t number) {
      Peer& peer = peers_[number];
      std::string_view bytes = received(peer.link);
      if (bytes.empty()) return;
      progress_s_ = now_s();
      for (size_t came = peer.replies.take(bytes.data(), bytes.size()); came--;
           peer.due_s.pop_front())
        took(progress_s_ - peer.due_s.front());
    });
  }

  void took(double seconds) {
    latency_.add_s(seconds);
    stretch_.push_back(seconds);
    if (stretch_.size() >= per_stretch_) end_stretch();
  }

  void end_stretch() {
    stretches_.push_back(percentile(stretch_, .99));
    stretch_.clear();
  }

  std::string message_;
  Watch watch_;
  std::vector<Peer> peers_;
  Latency latency_;
  size_t per_stretch_ = 0;
  std::vector<double> stretch_, stretches_;  // latency in this one; p99 of each
  double progress_s_ = 0;
};

}  // namespace bench
