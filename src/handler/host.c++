#include "src/handler/host.h"

#include <algorithm>

#include "src/engine/connection.h"
#include "src/engine/loop.h"
#include "src/handler/handler.h"
#include "src/handler/request.h"
#include "src/protocol/close_code.h"
#include "src/protocol/utf8.h"

namespace mws {

namespace {

Connection* connection_of(const ws_connection* connection) {
  return reinterpret_cast<Connection*>(const_cast<ws_connection*>(connection));
}

HandlerAttachment* attachment_of(const ws_connection* connection) {
  if (!connection) return nullptr;
  return static_cast<HandlerAttachment*>(connection_of(connection)->attachment());
}

const HandshakeRequest* request_of(const ws_request* request) {
  return reinterpret_cast<const HandshakeRequest*>(request);
}

const char* param(const ws_config* config, const char* key) noexcept {
  if (!config || !key) return nullptr;
  auto found = config->params.find(key);
  return found == config->params.end() ? nullptr : found->second.c_str();
}

ws_text request_fact(const ws_request* request, ws_fact fact) noexcept {
  if (!request || size_t(fact) >= kFacts) return {};
  return request_of(request)->facts[fact];
}

ws_text request_header(const ws_request* request, const char* name) noexcept {
  return request && name ? request_of(request)->header(name) : ws_text{};
}

ws_text request_subprotocol(const ws_request* request, size_t index) noexcept {
  if (!request || index >= request_of(request)->subprotocols.size()) return {};
  const std::string& name = request_of(request)->subprotocols[index];
  return {name.c_str(), name.size()};
}

ws_result accept_subprotocol(ws_request* request, const char* subprotocol) noexcept {
  if (!request || !subprotocol) return WS_INVALID;
  auto& asked = *reinterpret_cast<HandshakeRequest*>(request);
  std::string_view name = subprotocol;
  asked.forged |=
      std::any_of(name.begin(), name.end(), [](unsigned char c) { return c < ' ' || c == 127; });
  auto found = std::find(asked.subprotocols.begin(), asked.subprotocols.end(), subprotocol);
  if (found == asked.subprotocols.end()) return WS_INVALID;
  asked.facts[WS_SUBPROTOCOL] = {found->c_str(), found->size()};
  return WS_OK;
}

ws_result send(ws_connection* connection, ws_type type, const void* data, size_t size,
               uint32_t flags) noexcept {
  if (!connection || (!data && size) || size > PTRDIFF_MAX) return WS_INVALID;
  if (flags & ~WS_UNCOMPRESSED) return WS_INVALID;
  if (type != WS_TEXT && type != WS_BINARY) return WS_INVALID;
  Bytes payload(static_cast<const uint8_t*>(data), size);
  Connection& to = *connection_of(connection);
  // A text that goes back as it came has been checked on its way in.
  if (type == WS_TEXT && !to.loop().is_current_message(Opcode::text, payload) && !is_utf8(payload))
    return WS_INVALID;
  switch (to.send(Opcode(type), payload, !(flags & WS_UNCOMPRESSED))) {
    case SendResult::sent: return WS_OK;
    case SendResult::queued: return WS_QUEUED;
    case SendResult::high_water: return WS_HIGH_WATER;
    case SendResult::closed: break;
  }
  return WS_CLOSED;
}

ws_result close(ws_connection* connection, uint16_t code, const char* reason,
                size_t reason_size) noexcept {
  if (!connection || (!reason && reason_size) || reason_size > kMaxCloseReason) return WS_INVALID;
  if (code ? !may_be_sent(code) : reason_size > 0) return WS_INVALID;
  std::string_view text(reason_size ? reason : "", reason_size);
  if (!is_utf8(bytes_of(text))) return WS_INVALID;
  return connection_of(connection)->close(code ? code : kCloseNoCode, text) ? WS_OK : WS_CLOSED;
}

size_t buffered_amount(const ws_connection* connection) noexcept {
  return connection ? connection_of(connection)->buffered_amount() : 0;
}

ws_text fact(const ws_connection* connection, ws_fact fact) noexcept {
  HandlerAttachment* attachment = attachment_of(connection);
  return attachment ? attachment->fact(fact) : ws_text{};
}

ws_text header(const ws_connection* connection, const char* name) noexcept {
  HandlerAttachment* attachment = attachment_of(connection);
  return attachment ? attachment->header(name) : ws_text{};
}

void set_user_data(ws_connection* connection, void* data) noexcept {
  if (HandlerAttachment* attachment = attachment_of(connection)) attachment->user_data = data;
}

void* user_data(const ws_connection* connection) noexcept {
  HandlerAttachment* attachment = attachment_of(connection);
  return attachment ? attachment->user_data : nullptr;
}

}  // namespace

ws_host host_functions() {
  ws_host host{};
  host.size = sizeof host;
  host.abi = WS_ABI_VERSION;
  host.param = param;
  host.request_fact = request_fact;
  host.request_header = request_header;
  host.request_subprotocol = request_subprotocol;
  host.accept_subprotocol = accept_subprotocol;
  host.send = send;
  host.close = close;
  host.buffered_amount = buffered_amount;
  host.fact = fact;
  host.header = header;
  host.set_user_data = set_user_data;
  host.user_data = user_data;
  return host;
}

}  // namespace mws
