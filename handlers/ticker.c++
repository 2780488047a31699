// Server push with backpressure: sends a line of JSON every so often, as
//
//     {"tick":7,"time":1767225600000,"skipped":0}
//
// A client that reads too slowly misses ticks, instead of getting all of them late while memory
// fills: skipped says how many since the line before. WebSocketParam interval sets the milliseconds
// between ticks, 1000 by default; a client may ask for others, by ws://host/ticker?interval=250.
#include <mod_websocket/handler.h>

#include <charconv>
#include <chrono>
#include <stdexcept>

constexpr int kShortest_ms = 10, kLongest_ms = 60000;

// Throws what is told to whoever wrote the number.
int interval_of(std::string_view text) {
  int ms = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), ms);
  if (error != std::errc() || end != text.data() + text.size() || ms < kShortest_ms ||
      ms > kLongest_ms)
    throw std::invalid_argument("interval is a number of milliseconds from 10 to 60000");
  return ms;
}

struct Ticker : websocket::Handler {
  // An exception refuses the configuration: `httpd -t` prints its text.
  explicit Ticker(const websocket::Config& config)
      : interval_ms(interval_of(config.param("interval").value_or("1000"))) {}

  // A wrong parameter of the client's is answered here, where HTTP can still say so.
  int handshake(websocket::Request& request) override try {
    int ms = interval_ms;
    if (auto asked = request.parameter("interval")) ms = interval_of(*asked);
    request.set_note(std::to_string(ms));  // for open
    return 0;
  } catch (const std::invalid_argument& error) {
    request.set_body("text/plain", std::string(error.what()) + "\n");
    return 400;
  }

  void open(websocket::Connection& connection) override {
    auto& client = connection.emplace<Client>();  // gone with the connection
    client.interval_ms = interval_of(connection.note().value());
    connection.set_timer(client.interval_ms);
  }

  void timer(websocket::Connection& connection, uint32_t) override {
    Client& client = *connection.data<Client>();
    connection.set_timer(client.interval_ms);  // a timer is for once
    client.tick++;
    if (!client.waits) send(connection, client);
  }

  // What was sent has gone: the newest tick, if one came meanwhile.
  void drained(websocket::Connection& connection) override {
    Client& client = *connection.data<Client>();
    client.waits = false;
    if (client.tick > client.told) send(connection, client);
  }

 private:
  struct Client {
    int interval_ms = 0;
    long tick = 0, told = 0;  // the newest one, and the last one that was sent
    bool waits = false;       // until drained
  };

  void send(websocket::Connection& connection, Client& client) {
    using namespace std::chrono;
    auto now = duration_cast<milliseconds>(system_clock::now().time_since_epoch());
    ws_result result = connection.send_text(
        "{\"tick\":" + std::to_string(client.tick) + ",\"time\":" + std::to_string(now.count()) +
        ",\"skipped\":" + std::to_string(client.tick - client.told - 1) + "}");
    client.told = client.tick;
    client.waits = result == WS_QUEUED || result == WS_HIGH_WATER;
  }

  const int interval_ms;
};

WEBSOCKET_HANDLER(Ticker)
