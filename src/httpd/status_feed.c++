// The status through a WebSocket: at once, and then every second.
#include <memory>
#include <mutex>
#include <new>

#include "src/base/clock.h"
#include "src/httpd/status.h"
#include "src/httpd/upgrade.h"
#include "src/protocol/prepared_message.h"

namespace mws {

namespace {

constexpr uint64_t kInterval_ms = 1000;

class Feed final : public Endpoint {
 public:
  void on_open(Connection& connection) noexcept override { send(connection); }
  void on_message(Connection&, Opcode, Bytes) noexcept override {}
  void on_timer(Connection& connection, uint32_t) noexcept override { send(connection); }
  void on_close(Connection&, uint16_t, std::string_view, bool) noexcept override {}

 private:
  void send(Connection& connection) noexcept {
    try {
      connection.set_timer(0, kInterval_ms);
      // Who does not read gets the next one that he can.
      if (!connection.buffered_amount()) connection.send(Opcode::text, bytes_of(*recent()));
    } catch (const std::bad_alloc&) {
      connection.abort();
    }
  }

  // All who look at a time see the same.
  std::shared_ptr<const std::string> recent() {
    std::lock_guard hold(lock_);
    uint64_t now_ms = monotonic_ms();
    if (!recent_ || now_ms - made_ms_ >= kInterval_ms / 4)
      recent_ = std::make_shared<const std::string>(status_json(Snapshot()));
    else return recent_;
    made_ms_ = now_ms;
    return recent_;
  }

  std::mutex lock_;
  uint64_t made_ms_ = 0;
  std::shared_ptr<const std::string> recent_;
};

}  // namespace

int feed_status(request_rec* r) {
  static Feed& feed = *new Feed;  // outlives every connection
  return open_internal_websocket(r, feed, kStatusSubprotocol);
}

}  // namespace mws
