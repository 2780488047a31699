#include "src/handler/host.h"

#include <algorithm>

#include "src/handler/handler.h"
#include "src/handler/host_support.h"
#include "src/handler/library.h"

namespace mws {

// --- Mistakes ---

ws_result mistake(const ws_connection* peer, const void* caller, const char* function,
                  const char* what, ws_result result) noexcept {
  const Handler* handler = peer ? &peer->handler : current_handler;
  if (handler) handler->log_mistake(function, what);
  else if (auto library = Library::of_code(caller)) library->log_mistake("", function, what);
  return result;
}

ws_connection* in_callback_of(const ws_connection* connection, const void* caller,
                              const char* function) noexcept {
  if (connection && connection == current_call.peer) return const_cast<ws_connection*>(connection);
  const char* what = !connection ? "NULL is no connection"
                                 : "not in a callback of this connection: on another thread, or "
                                   "after its close; for these there are handles";
  mistake(nullptr, caller, function, what, WS_WRONG_THREAD);
  return nullptr;
}

namespace {

// --- configure ---

const char* param(const ws_config* config, const char* key) noexcept {
  if (!config || !key) {
    mistake(nullptr, CALLER, "param", "NULL", WS_INVALID);
    return nullptr;
  }
  auto found = config->params.find(key);
  return found == config->params.end() ? nullptr : found->second.c_str();
}

// --- handshake ---

const HandshakeRequest* request_of(const ws_request* request) {
  return reinterpret_cast<const HandshakeRequest*>(request);
}

// The request, if the thread is in its handshake and the other argument is there. Else nullptr, and
// the mistake is logged.
HandshakeRequest* in_handshake_of(const ws_request* request, const void* argument,
                                  const void* caller, const char* function) noexcept {
  const char* what = nullptr;
  if (!request || !argument) what = "NULL";
  else if (request_of(request) != current_request) what = "not in the handshake of this request";
  if (!what) return const_cast<HandshakeRequest*>(request_of(request));
  mistake(nullptr, caller, function, what, WS_INVALID);
  return nullptr;
}

ws_text request_fact(const ws_request* request, ws_fact fact) noexcept {
  auto* asked = in_handshake_of(request, request, CALLER, "request_fact");
  return asked ? asked->facts.get(fact) : ws_text{};
}

ws_text request_header(const ws_request* request, const char* name) noexcept {
  auto* asked = in_handshake_of(request, name, CALLER, "request_header");
  return asked ? asked->header(name) : ws_text{};
}

ws_text request_subprotocol(const ws_request* request, size_t index) noexcept {
  auto* asked = in_handshake_of(request, request, CALLER, "request_subprotocol");
  if (!asked || index >= asked->subprotocols.size()) return {};
  const std::string& name = asked->subprotocols[index];
  return {name.c_str(), name.size()};
}

ws_text request_cookie(const ws_request* request, const char* name) noexcept {
  auto* asked = in_handshake_of(request, name, CALLER, "request_cookie");
  return asked ? or_nothing([&] { return asked->cookie(name); }) : ws_text{};
}

ws_text request_parameter(const ws_request* request, const char* name) noexcept {
  auto* asked = in_handshake_of(request, name, CALLER, "request_parameter");
  return asked ? or_nothing([&] { return asked->parameter(name); }) : ws_text{};
}

void request_headers(const ws_request* request, void (*each)(void*, const char*, const char*),
                     void* context) noexcept {
  constexpr const char* kSelf = "request_headers";
  auto* asked = in_handshake_of(request, reinterpret_cast<void*>(each), CALLER, kSelf);
  if (!asked) return;
  try {
    asked->each_header(each, context);
  } catch (...) {
    mistake(nullptr, CALLER, kSelf, "an exception left the function that it called", WS_INVALID);
  }
}

ws_result accept_subprotocol(ws_request* request, const char* subprotocol) noexcept {
  auto* asked = in_handshake_of(request, subprotocol, CALLER, "accept_subprotocol");
  if (!asked) return WS_INVALID;
  std::string_view name = subprotocol;
  asked->forged |=
      std::any_of(name.begin(), name.end(), [](unsigned char c) { return c < ' ' || c == 127; });
  auto found = std::find(asked->subprotocols.begin(), asked->subprotocols.end(), subprotocol);
  if (found == asked->subprotocols.end()) return WS_INVALID;
  asked->facts.set(WS_SUBPROTOCOL, {found->c_str(), found->size()});
  return WS_OK;
}

ws_result add_header(ws_request* request, const char* name, const char* value) noexcept {
  constexpr const char* kSelf = "add_header";
  auto* asked = in_handshake_of(request, name && value ? name : nullptr, CALLER, kSelf);
  if (!asked) return WS_INVALID;
  if (!may_be_added(name, value))
    return mistake(nullptr, CALLER, kSelf,
                   "the name is no token or one of the server's own headers, or the value has a "
                   "control character",
                   WS_INVALID);
  return or_no_memory([&] {
    asked->response_headers.emplace_back(name, value);
    return WS_OK;
  });
}

ws_result set_body(ws_request* request, const char* content_type, const void* data,
                   size_t size) noexcept {
  constexpr const char* kSelf = "set_body";
  auto* asked = in_handshake_of(request, content_type, CALLER, kSelf);
  if (!asked) return WS_INVALID;
  if ((!data && size) || size > kMaxBody)
    return mistake(nullptr, CALLER, kSelf, "NULL with a size, or 2 GiB and more", WS_INVALID);
  if (!may_be_added("Content-Type", content_type) || !*content_type)
    return mistake(nullptr, CALLER, kSelf, "the content type is empty or has a control character",
                   WS_INVALID);
  return or_no_memory([&] {
    std::string type = content_type, body(static_cast<const char*>(data), size);
    asked->content_type.swap(type);
    asked->body.swap(body);
    return WS_OK;
  });
}

ws_result set_note(ws_request* request, const void* data, size_t size) noexcept {
  constexpr const char* kSelf = "set_note";
  auto* asked = in_handshake_of(request, request, CALLER, kSelf);
  if (!asked) return WS_INVALID;
  if ((!data && size) || size > kMaxNote)
    return mistake(nullptr, CALLER, kSelf, "NULL with a size, or more than 64 KiB", WS_INVALID);
  return or_no_memory([&] {
    asked->facts.set(WS_NOTE, asked->keep(std::string(static_cast<const char*>(data), size)));
    return WS_OK;
  });
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
  host.request_cookie = request_cookie;
  host.request_parameter = request_parameter;
  host.request_headers = request_headers;
  host.accept_subprotocol = accept_subprotocol;
  host.add_header = add_header;
  host.set_body = set_body;
  host.set_note = set_note;
  add_connection_functions(host);
  add_handle_functions(host);
  add_topic_functions(host);
  return host;
}

}  // namespace mws
