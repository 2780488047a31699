// One publishes, all get it: each WebSocket counts what comes on it. One thread.
#pragma once
#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "bench/link.h"
#include "bench/processes.h"
#include "bench/watch.h"

namespace bench {

template <class Counter>
class FanOut {
 public:
  // Of a WebSocket that has subscribed.
  void add(Link link, Counter counter) {
    watch_.add(link.descriptor(), peers_.size());
    peers_.push_back({std::move(link), std::move(counter), 0});
  }

  // Publishes the frame through the first, again whenever all have got it; prints the CPU time of
  // the server for each delivery. Their number.
  size_t run(const std::string& frame, double seconds, const Processes& server) {
    using namespace std::chrono;
    auto elapsed_s = [from = steady_clock::now()] {
      return duration<double>(steady_clock::now() - from).count();
    };
    size_t published = published_, received = received_;
    double cpu_from_s = server.cpu_s();
    while (elapsed_s() < seconds) publish(frame);
    double took_s = elapsed_s(), cpu_s = server.cpu_s() - cpu_from_s;
    if (receive_some(100)) fail("more than was published");
    size_t deliveries = received_ - received;
    printf("cpu_us=%.4f deliveries_s=%.0f burst_ms=%.2f cipher=%s ",
           1e6 * cpu_s / double(deliveries), double(deliveries) / took_s,
           1e3 * took_s / double(published_ - published), peers_[0].link.cipher().c_str());
    return deliveries;
  }

  // So that the server is rid of them at once.
  void reset() {
    for (Peer& peer : peers_) peer.link.reset();
  }

 private:
  struct Peer {
    Link link;
    Counter counter;
    size_t received;
  };

  void publish(const std::string& frame) {
    published_++;
    peers_[0].link.send_all(frame);
    // None gets more than was published, so all have it when the sum is right.
    while (received_ < published_ * peers_.size())
      if (!receive_some(5000))
        fail("%zu of %zu deliveries are missing", published_ * peers_.size() - received_,
             published_ * peers_.size());
  }

  bool receive_some(int within_ms) {
    return watch_.each(within_ms, [&](size_t number) {
      Peer& peer = peers_[number];
      std::string_view bytes = received(peer.link);
      size_t came = peer.counter.take(bytes.data(), bytes.size());
      received_ += came;
      if ((peer.received += came) > published_) fail("a delivery came twice");
    });
  }

  Watch watch_;
  std::vector<Peer> peers_;
  size_t published_ = 0, received_ = 0;
};

}  // namespace bench
