// Tells a test of every callback, which may call the host and throw.
#include "hooks.h"

#include <cstdlib>
#include <thread>

namespace {

const ws_host* host;

Hooks* of(void* state) { return static_cast<Hooks*>(state); }
void tell(void* state, const char* callback, ws_connection* connection, const void* data = "",
          size_t size = 0, uint32_t number = 0) {
  of(state)->event(of(state), callback, connection, data, size, number);
}

ws_handler made(bool streams) {
  ws_handler table{};
  table.size = sizeof table;
  table.abi = WS_ABI_VERSION;
  table.configure = [](const ws_config* config, void** state, char*, size_t) {
    *state = reinterpret_cast<void*>(strtoull(host->param(config, "hooks"), nullptr, 10));
    of(*state)->host = host;
    return 0;
  };
  table.handshake = [](void* s, ws_request* request) { return of(s)->handshake(of(s), request); };
  table.open = [](void* s, ws_connection* c) { tell(s, "open", c); };
  table.message = [](void* s, ws_connection* c, ws_type type, const void* data, size_t size) {
    tell(s, "message", c, data, size, type);
  };
  table.close = [](void* s, ws_connection* c, uint16_t code, const char* reason, size_t size, int) {
    tell(s, "close", c, reason, size, code);
  };
  table.drained = [](void* s, ws_connection* c) { tell(s, "drained", c); };
  table.ping = [](void* s, ws_connection* c, const void* data, size_t size) {
    tell(s, "ping", c, data, size);
  };
  table.pong = [](void* s, ws_connection* c, const void* data, size_t size) {
    tell(s, "pong", c, data, size);
  };
  table.timer = [](void* s, ws_connection* c, uint32_t id) { tell(s, "timer", c, "", 0, id); };
  if (streams)
    table.fragment = [](void* s, ws_connection* c, ws_type, const void* data, size_t size,
                        uint32_t flags) { tell(s, "fragment", c, data, size, flags); };
  return table;
}

}  // namespace

extern "C" WS_EXPORT const ws_handler* websocket_handler(const ws_host* given) {
  static const ws_handler table = made(false);
  host = given;
  return &table;
}

extern "C" WS_EXPORT const ws_handler* streams(const ws_host* given) {
  static const ws_handler table = made(true);
  host = given;
  return &table;
}

// From a thread of the handler's own.
extern "C" WS_EXPORT ws_result send_on_a_thread(ws_connection* connection) {
  ws_result result = WS_OK;
  std::thread([&] { result = host->send(connection, WS_TEXT, "x", 1, 0); }).join();
  return result;
}
