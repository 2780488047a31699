#include "src/handler/plugin.h"

#include <exception>

#include "src/handler/handler.h"
#include "src/handler/peer.h"
#include "src/handler/plugin_connection.h"

namespace mws {

std::string wrong_with_plugin(const Plugin& plugin) {
  // A handler that forgot its ABI is not taken for one: its table is longer.
  if (plugin.size < sizeof(Plugin) || plugin.size >= offsetof(ws_handler, message) + sizeof(void*))
    return "has a table of version 0, as plugins of apache-websocket do, but not of " +
           std::to_string(sizeof(Plugin)) + " bytes as theirs; a handler's says WS_ABI_VERSION";
  if (!plugin.on_message) return "is a plugin of apache-websocket without on_message";
  return "";
}

// --- The callbacks ---

namespace {

PluginConnection& companion_of(ws_connection* connection) {
  return static_cast<PluginConnection&>(*connection->companion());
}

int handshake(void* state, ws_request* request) {
  constexpr int kForbidden = 403;
  auto& asked = *reinterpret_cast<HandshakeRequest*>(request);
  auto connection = std::make_shared<PluginConnection>(*static_cast<Handler*>(state), asked);
  if (!connection->connect()) {
    asked.response_headers.clear();
    return kForbidden;
  }
  asked.companion = std::move(connection);
  return 0;
}

void message(void*, ws_connection* connection, ws_type type, const void* data, size_t size) {
  companion_of(connection)
      .message(type == WS_TEXT ? kPluginText : kPluginBinary,
               {static_cast<const uint8_t*>(data), size});
}

void close(void*, ws_connection* connection, uint16_t, const char*, size_t, int) {
  companion_of(connection).disconnect();
}

}  // namespace

ws_handler plugin_callbacks() {
  ws_handler table{};
  table.size = sizeof table;
  table.abi = WS_ABI_VERSION;
  table.flags = WS_BLOCKING;
  table.handshake = handshake;
  table.message = message;
  table.close = close;
  return table;
}

}  // namespace mws
