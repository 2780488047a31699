// Work that takes its time: callbacks run on a pool of threads instead of the event loop, so they
// may block, and all other connections are served meanwhile. A message is
//
//     a number     so many milliseconds of sleep, at most 10000, as for a slow database
//     other text   hashed many million times: a processor's work
//
// and gets one line when it is done. Messages of one connection are worked on one at a time, in
// their order, those of different connections at the same time; WebSocketWorkers says by how many
// threads, 16 by default.
#include <mod_websocket/handler.h>

#include <charconv>
#include <chrono>
#include <thread>

constexpr unsigned kLongest_ms = 10000;
constexpr int kHashedBytes = 20'000'000;

struct Worker : websocket::Handler {
  static constexpr bool blocking = true;  // this alone moves the callbacks to the pool

  void message(websocket::Connection& connection, websocket::Message message) override {
    std::string_view text = message.data;
    unsigned ms = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), ms);
    bool number = !text.empty() && end == text.data() + text.size();
    if (!number) {
      connection.send_text("hashed " + std::to_string(text.size()) + " bytes: " + hashed(text));
    } else if (error != std::errc() || ms > kLongest_ms) {
      connection.send_text("error: at most 10000 ms");
    } else {
      std::this_thread::sleep_for(std::chrono::milliseconds(ms));
      // The client may have gone: then this does nothing, and says WS_CLOSED.
      connection.send_text("slept " + std::to_string(ms) + " ms");
    }
  }

 private:
  // FNV-1a, over and over.
  static std::string hashed(std::string_view text) {
    uint64_t hash = 0xcbf29ce484222325;
    for (int i = 0; i < kHashedBytes; i++) {
      unsigned char byte = text.empty() ? 0 : text[i % text.size()];
      hash = (hash ^ byte) * 0x100000001b3;
    }
    char hex[17];
    snprintf(hex, sizeof hex, "%016llx", static_cast<unsigned long long>(hash));
    return hex;
  }
};

WEBSOCKET_HANDLER(Worker)
