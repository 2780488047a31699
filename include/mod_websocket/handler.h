// The C++20 face of handler_abi.h, header only. A handler derives from websocket::Handler,
// overrides what it needs, and is exported by one line:
//
//     struct Echo : websocket::Handler {
//       void message(websocket::Connection& connection, websocket::Message message) override {
//         connection.send(message);
//       }
//     };
//     WEBSOCKET_HANDLER(Echo)
//
// One object is made per location, with the location's parameters if its constructor takes them
// (const websocket::Config&); an exception from the constructor refuses the configuration with its
// text. Threads are those of handler_abi.h. An exception from another callback is logged; the
// request is answered with 500, the connection closed with 1011.
#pragma once
#include <cstdio>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

#include "handler_abi.h"

namespace websocket {

namespace detail {
// Hidden, so that each shared object has its own, however it is compiled.
__attribute__((visibility("hidden"))) inline const ws_host* host;
inline std::optional<std::string_view> view(ws_text text) {
  if (!text.data) return std::nullopt;
  return std::string_view(text.data, text.size);
}
}  // namespace detail

using Text = std::optional<std::string_view>;  // nothing, or a view

inline void log(ws_level level, const std::string& line) {
  detail::host->log(detail::host, level, line.c_str());
}

// A message as it arrives and as it is sent. Views, valid until the callback returns.
struct Message {
  std::string_view data;
  bool binary = false;
  bool compress = true;  // when it is sent; see WS_UNCOMPRESSED
};

// The parameters of a location.
class Config {
 public:
  explicit Config(const ws_config* config) : config_(config) {}
  // The value of WebSocketParam KEY; valid as long as the handler.
  Text param(const char* key) const {
    const char* value = detail::host->param(config_, key);
    return value ? Text(value) : std::nullopt;
  }

 private:
  const ws_config* config_;
};

// A client that asks for a connection. Valid during handshake().
class Request {
 public:
  explicit Request(ws_request* request) : request_(request) {}
  Text fact(ws_fact fact) const { return detail::view(detail::host->request_fact(request_, fact)); }
  std::string_view path() const { return fact(WS_PATH).value_or(""); }
  std::string_view query() const { return fact(WS_QUERY).value_or(""); }
  Text user() const { return fact(WS_USER); }
  Text header(const char* name) const {
    return detail::view(detail::host->request_header(request_, name));
  }
  // The subprotocols that the client offers, index from 0, in its order of preference.
  Text subprotocol(size_t index) const {
    return detail::view(detail::host->request_subprotocol(request_, index));
  }
  // Chooses the subprotocol if the client offers it; says whether it did.
  bool accept_subprotocol(const char* name) {
    return detail::host->accept_subprotocol(request_, name) == WS_OK;
  }

 private:
  ws_request* request_;
};

// An open connection: a view, to be used inside the connection's own callbacks only. The reference
// that a callback gets ends with the callback.
class Connection {
 public:
  explicit Connection(ws_connection* connection) : connection_(connection) {}

  ws_result send(Message message) {
    return detail::host->send(connection_, message.binary ? WS_BINARY : WS_TEXT,
                              message.data.data(), message.data.size(),
                              message.compress ? 0 : WS_UNCOMPRESSED);
  }
  ws_result send_text(std::string_view text) { return send({text, false}); }
  ws_result send_binary(std::string_view bytes) { return send({bytes, true}); }
  // See ws_host::close. Code 0 sends a close frame without a code.
  ws_result close(uint16_t code = 1000, std::string_view reason = {}) {
    return detail::host->close(connection_, code, reason.data(), reason.size());
  }
  size_t buffered_amount() const { return detail::host->buffered_amount(connection_); }

  Text fact(ws_fact fact) const { return detail::view(detail::host->fact(connection_, fact)); }
  std::string_view path() const { return fact(WS_PATH).value_or(""); }
  std::string_view query() const { return fact(WS_QUERY).value_or(""); }
  Text user() const { return fact(WS_USER); }
  Text subprotocol() const { return fact(WS_SUBPROTOCOL); }
  Text extensions() const { return fact(WS_EXTENSIONS); }
  Text tls_version() const { return fact(WS_TLS_VERSION); }
  Text tls_cipher() const { return fact(WS_TLS_CIPHER); }
  Text tls_server_name() const { return fact(WS_TLS_SERVER_NAME); }
  Text tls_client_subject() const { return fact(WS_TLS_CLIENT_SUBJECT); }
  std::string_view remote_address() const { return fact(WS_REMOTE_ADDRESS).value_or(""); }
  // One of the headers named in keep_headers (see WEBSOCKET_HANDLER).
  Text header(const char* name) const {
    return detail::view(detail::host->header(connection_, name));
  }

  // The handler's own pointer of this connection; see ws_host::set_user_data.
  void set_user_data(void* data) { detail::host->set_user_data(connection_, data); }
  void* user_data() const { return detail::host->user_data(connection_); }

  ws_connection* get() const { return connection_; }

 private:
  ws_connection* connection_;
};

class Handler {
 public:
  virtual ~Handler() = default;
  // 0 accepts, 400 to 599 rejects with that status. May block; several at a time.
  virtual int handshake(Request&) { return 0; }
  virtual void open(Connection&) {}
  virtual void message(Connection&, Message) = 0;
  virtual void close(Connection&, uint16_t /*code*/, std::string_view /*reason*/, bool /*clean*/) {}
};

namespace detail {

inline void log_exception(const char* callback) noexcept {
  try {
    throw;
  } catch (const std::exception& error) {
    char line[512];
    snprintf(line, sizeof line, "exception in %s: %s", callback, error.what());
    host->log(host, WS_ERROR, line);
  } catch (...) {
    char line[512];
    snprintf(line, sizeof line, "exception in %s", callback);
    host->log(host, WS_ERROR, line);
  }
}

// Runs a callback of a connection; an exception closes it.
template <class Call>
void guard(const char* callback, ws_connection* connection, Call call) noexcept {
  try {
    call();
  } catch (...) {
    log_exception(callback);
    host->close(connection, 1011, nullptr, 0);
  }
}

template <class T>
struct Table {
  static T* self(void* state) { return static_cast<T*>(state); }

  static int configure(const ws_config* config, void** state, char* error, size_t size) noexcept {
    try {
      if constexpr (std::is_constructible_v<T, const Config&>) *state = new T(Config(config));
      else *state = new T();
      return 0;
    } catch (const std::exception& e) {
      snprintf(error, size, "%s", e.what());
    } catch (...) {
      snprintf(error, size, "exception in the constructor");
    }
    return 1;
  }
  static void shutdown(void* state) noexcept { delete self(state); }
  static int handshake(void* state, ws_request* request) noexcept {
    try {
      Request view(request);
      return self(state)->handshake(view);
    } catch (...) {
      log_exception("handshake");
      return 500;
    }
  }
  static void open(void* state, ws_connection* connection) noexcept {
    guard("open", connection, [&] {
      Connection view(connection);
      self(state)->open(view);
    });
  }
  static void message(void* state, ws_connection* connection, ws_type type, const void* data,
                      size_t size) noexcept {
    guard("message", connection, [&] {
      Connection view(connection);
      self(state)->message(view, {{static_cast<const char*>(data), size}, type == WS_BINARY});
    });
  }
  static void close(void* state, ws_connection* connection, uint16_t code, const char* reason,
                    size_t size, int clean) noexcept {
    guard("close", connection, [&] {
      Connection view(connection);
      self(state)->close(view, code, {reason, size}, clean);
    });
  }
};

}  // namespace detail
}  // namespace websocket

// Exports the class as the handler of this shared object. Further arguments are the names of
// request headers to keep for Connection::header: WEBSOCKET_HANDLER(Chat, "Cookie", "User-Agent")
#define WEBSOCKET_HANDLER(Class, ...)                                                       \
  extern "C" WS_EXPORT const ws_handler* websocket_handler(const ws_host* host) {           \
    using Table = websocket::detail::Table<Class>;                                          \
    static const char* const keep_headers[] = {__VA_ARGS__ __VA_OPT__(, ) nullptr};         \
    static const ws_handler table = {sizeof(ws_handler), WS_ABI_VERSION,  keep_headers,     \
                                     Table::configure,   Table::shutdown, Table::handshake, \
                                     Table::open,        Table::message,  Table::close};    \
    websocket::detail::host = host;                                                         \
    return &table;                                                                          \
  }
