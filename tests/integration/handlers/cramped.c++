// Limits the memory of its process during the opening handshake. X-Room: bytes beyond what it has,
// or "any".
#include <mod_websocket/handler.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <string>

namespace {

struct Cramped : websocket::Handler {
  explicit Cramped(const websocket::Config&) {}

  int handshake(websocket::Request& request) override {
    std::string room(request.header("X-Room").value_or("any"));
    rlim_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    rlimit limit;
    getrlimit(RLIMIT_AS, &limit);
    limit.rlim_cur =
        room == "any" ? limit.rlim_max : pages * rlim_t(getpagesize()) + std::stoul(room);
    setrlimit(RLIMIT_AS, &limit);
    return 0;
  }

  void message(websocket::Connection& connection, websocket::Message message) override {
    connection.send(message);
  }
};

}  // namespace

WEBSOCKET_HANDLER(Cramped)
