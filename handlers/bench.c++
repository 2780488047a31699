// Messages in any size and number, for measuring clients and networks. The client sends
//
//     SIZE COUNT [text|binary] [compress]
//
// as in "65536 1000 binary", and gets COUNT messages of SIZE bytes: binary and uncompressed, unless
// it says otherwise. One buffer is all of them, so nothing is copied; and no more is sent than the
// client reads, so "16777216 1000000" needs 16 MiB of memory, not 16 TiB.
#include <mod_websocket/handler.h>

#include <sstream>
#include <stdexcept>

constexpr long kLargest_bytes = 16 << 20, kMostMessages = 1'000'000;
constexpr int kAtOnce = 256;  // messages; then other connections have their turn

struct Bench : websocket::Handler {
  void open(websocket::Connection& connection) override { connection.emplace<Request>(); }

  void message(websocket::Connection& connection, websocket::Message message) override try {
    Request& request = *connection.data<Request>();
    if (request.left) throw std::invalid_argument("the request before is still being served");
    request = parsed(std::string(message.data));
    if (!request.buffer) throw std::runtime_error("no memory");  // closes with 1011
    send_some(connection);
  } catch (const std::invalid_argument& error) {
    connection.send_text(std::string("error: ") + error.what());
  }

  void drained(websocket::Connection& connection) override { send_some(connection); }

 private:
  struct Request {
    websocket::Buffer buffer;
    long left = 0;        // messages to be sent
    bool posted = false;  // send_some is on its way
  };

  static Request parsed(const std::string& line) {
    std::istringstream words(line);
    long size = -1, count = -1;
    std::string word;
    bool binary = true, compress = false;
    if (!(words >> size >> count))
      throw std::invalid_argument("say: SIZE COUNT [text|binary] [compress]");
    if (size < 0 || size > kLargest_bytes)
      throw std::invalid_argument("SIZE is a number of bytes from 0 to 16777216");
    if (count < 1 || count > kMostMessages)
      throw std::invalid_argument("COUNT is a number from 1 to 1000000");
    while (words >> word) {
      if (word == "text") binary = false;
      else if (word == "binary") binary = true;
      else if (word == "compress") compress = true;
      else throw std::invalid_argument("only text, binary or compress may follow the numbers");
    }
    std::string data(size_t(size), 0);
    for (size_t i = 0; i < data.size(); i++) data[i] = char('a' + i % 26);
    return {websocket::Buffer::of(std::move(data), binary, compress), count};
  }

  // Until what is sent has to wait: then drained goes on. And not for too long at a time: what is
  // posted comes behind the events of other connections.
  static void send_some(websocket::Connection& connection) {
    Request& request = *connection.data<Request>();
    if (request.posted) return;
    for (int i = 0; i < kAtOnce && request.left; i++) {
      request.left--;
      if (connection.send(request.buffer) != WS_OK) return;
    }
    if (!request.left) {
      request.buffer = {};
      return;
    }
    request.posted = true;
    connection.handle().post([](websocket::Connection& later) {
      later.data<Request>()->posted = false;
      send_some(later);
    });
  }
};

WEBSOCKET_HANDLER(Bench)
