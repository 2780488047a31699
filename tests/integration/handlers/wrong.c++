// Handlers that a server must not fall over, each under a symbol of its own, straight on the ABI.
#include <mod_websocket/handler_abi.h>

#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <string>

namespace {

const ws_host* host;

void ignore(void*, ws_connection*, ws_type, const void*, size_t) {}

int refuse(const ws_config*, void**, char* error, size_t size) {
  snprintf(error, size, "parameter \"file\" is missing; write WebSocketParam file PATH");
  return 1;
}
int refuse_silently(const ws_config*, void**, char*, size_t) { return 1; }
int refuse_at_length(const ws_config*, void**, char* error, size_t size) {
  memset(error, 'x', size);  // no zero byte at its end
  return 1;
}
int throw_in_configure(const ws_config*, void**, char*, size_t) {
  throw std::runtime_error("thrown in configure");
}

constexpr ws_handler table(uint32_t abi, decltype(ws_handler::configure) configure,
                           decltype(ws_handler::message) message) {
  ws_handler handler{};
  handler.size = sizeof handler;
  handler.abi = abi;
  handler.configure = configure;
  handler.message = message;
  return handler;
}

int throw_in_handshake(void*, ws_request* request) {
  if (host->request_header(request, "X-Throw").data)
    throw std::runtime_error("thrown through the ABI");
  return 0;
}
int split_the_response(void*, ws_request* request) {
  if (host->request_fact(request, WS_QUERY).size) host->accept_subprotocol(request, "chat");
  host->accept_subprotocol(request, "chat\r\nX-Split: yes");
  return 0;
}

// Each wrong call, by what the message says; then what it returned. "close twice" does what it says.
void misuse(void*, ws_connection* connection, ws_type, const void* data, size_t size) {
  std::string_view asked(static_cast<const char*>(data), size);
  int result = 0;
  if (asked == "length without data") result = host->send(connection, WS_BINARY, nullptr, 5, 0);
  if (asked == "length below zero") result = host->send(connection, WS_BINARY, data, size_t(-1), 0);
  if (asked == "text cut in a character") result = host->send(connection, WS_TEXT, "\xe2\x82\xac", 2, 0);
  if (asked == "no such type") result = host->send(connection, ws_type(9), data, size, 0);
  if (asked == "no such flag") result = host->send(connection, WS_BINARY, data, size, 2);
  if (asked == "reason without data") result = host->close(connection, 1000, nullptr, 5);
  if (asked == "reason too long") result = host->close(connection, 1000, "", size_t(-1));
  if (asked == "close twice") {
    host->close(connection, 4001, nullptr, 0);
    int again = host->close(connection, 4002, nullptr, 0), sent = host->send(connection, WS_TEXT, "behind", 6, 0);
    host->log(host, WS_INFO, ("close again " + std::to_string(again) + ", send " + std::to_string(sent)).c_str());
    return;
  }
  std::string said = std::to_string(result);
  host->send(connection, WS_TEXT, said.data(), said.size(), 0);
}

void throw_in_message(void*, ws_connection*, ws_type, const void*, size_t) {
  throw std::runtime_error("thrown through the ABI");
}

}  // namespace

#define EXPORTED(symbol, ...)                                    \
  extern "C" WS_EXPORT const ws_handler* symbol(const ws_host*); \
  const ws_handler* symbol(const ws_host* given) {               \
    host = given;                                                \
    static const ws_handler handler = __VA_ARGS__;               \
    return &handler;                                             \
  }

EXPORTED(of_the_future, table(WS_ABI_VERSION + 1, nullptr, ignore))
EXPORTED(without_version, table(0, nullptr, ignore))
EXPORTED(without_message, table(WS_ABI_VERSION, nullptr, nullptr))
EXPORTED(refuses, table(WS_ABI_VERSION, refuse, ignore))
EXPORTED(refuses_silently, table(WS_ABI_VERSION, refuse_silently, ignore))
EXPORTED(refuses_at_length, table(WS_ABI_VERSION, refuse_at_length, ignore))
EXPORTED(throws_in_configure, table(WS_ABI_VERSION, throw_in_configure, ignore))
EXPORTED(blocks, [] {
  ws_handler handler = table(WS_ABI_VERSION, nullptr, ignore);
  handler.flags = WS_BLOCKING;
  return handler;
}())
EXPORTED(throws, [] {
  ws_handler handler = table(WS_ABI_VERSION, nullptr, throw_in_message);
  handler.handshake = throw_in_handshake;
  return handler;
}())

EXPORTED(misuses, table(WS_ABI_VERSION, nullptr, misuse))
EXPORTED(splits_the_response, [] {
  ws_handler handler = table(WS_ABI_VERSION, nullptr, ignore);
  handler.handshake = split_the_response;
  return handler;
}())

extern "C" WS_EXPORT const ws_handler* returns_nothing(const ws_host*);
const ws_handler* returns_nothing(const ws_host*) { return nullptr; }

extern "C" WS_EXPORT const ws_handler* throws_at_once(const ws_host*);
const ws_handler* throws_at_once(const ws_host*) { throw std::runtime_error("thrown at once"); }
