// Speaks the C ABI and lets exceptions out, which it must not.
#include <mod_websocket/handler_abi.h>

#include <cstring>
#include <stdexcept>
#include <string>

namespace {

const ws_host* host;

// The parameter "throw" names the callback, "what" says what it throws.
struct State {
  std::string callback, what;
  void reach(const char* here) const {
    if (callback != here) return;
    if (what == "number") throw 42;
    throw std::runtime_error("out of order");
  }
};
State& state_of(void* state) { return *static_cast<State*>(state); }

const char* param(const ws_config* config, const char* key) {
  const char* value = host->param(config, key);
  return value ? value : "";
}

const ws_handler table = {
    sizeof(ws_handler),
    WS_ABI_VERSION,
    0,
    nullptr,
    [](const ws_config* config, void** state, char*, size_t) {
      State made{param(config, "throw"), param(config, "what")};
      made.reach("configure");
      *state = new State(made);
      return 0;
    },
    [](void* state) {
      State last = state_of(state);
      delete &state_of(state);
      host->log(host, WS_INFO, "shutdown");
      last.reach("shutdown");
    },
    [](void* state, ws_request*) {
      state_of(state).reach("handshake");
      return 0;
    },
    [](void* state, ws_connection*) { state_of(state).reach("open"); },
    [](void* state, ws_connection* connection, ws_type type, const void* data, size_t size) {
      state_of(state).reach("message");
      host->send(connection, type, data, size, 0);
    },
    [](void* state, ws_connection*, uint16_t, const char*, size_t, int) {
      state_of(state).reach("close");
    },
    nullptr,
    nullptr,
    nullptr,
    nullptr,
    nullptr,
    nullptr,
    nullptr,
};

}  // namespace

extern "C" WS_EXPORT const ws_handler* websocket_handler(const ws_host* given) {
  host = given;
  return &table;
}

extern "C" WS_EXPORT const ws_handler* throws_itself(const ws_host*) {
  throw std::runtime_error("not today");
}
