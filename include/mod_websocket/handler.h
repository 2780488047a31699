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
//
// Each function here does what the one of the same name in handler_abi.h says, where also its
// errors and threads are described.
#pragma once
#include <cstdio>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "handler_abi.h"

namespace websocket {

namespace detail {
// Hidden, so that each shared object has its own, however it is compiled.
__attribute__((visibility("hidden"))) inline const ws_host* host;
inline std::optional<std::string_view> view(ws_text text) {
  if (!text.data) return std::nullopt;
  return std::string_view(text.data, text.size);
}
template <class T>
inline char type_tag;  // its address stands for the type
}  // namespace detail

using Text = std::optional<std::string_view>;  // nothing, or a view

// One line to the error log; see ws_host::log. Any thread.
inline void log(ws_level level, const std::string& line) {
  detail::host->log(detail::host, level, line.c_str());
}

// A message as it arrives and as it is sent. Views, valid until the callback returns.
struct Message {
  std::string_view data;
  bool binary = false;
  bool compress = true;  // when it is sent; see WS_UNCOMPRESSED

  ws_type type() const { return binary ? WS_BINARY : WS_TEXT; }
  uint32_t flags() const { return compress ? 0 : WS_UNCOMPRESSED; }
};

// A piece of a message; see ws_handler::fragment.
struct Fragment {
  std::string_view data;
  bool binary = false;
  bool first = false, last = false;
};

// The parameters of a location. Valid during the constructor.
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

// What is known both of a request and of its connection; see ws_fact.
template <class Of>
class Facts {
 public:
  std::string_view path() const { return get(WS_PATH).value_or(""); }
  std::string_view path_below() const { return get(WS_PATH_BELOW).value_or(""); }
  std::string_view query() const { return get(WS_QUERY).value_or(""); }
  std::string_view remote_address() const { return get(WS_REMOTE_ADDRESS).value_or(""); }
  std::string_view local_address() const { return get(WS_LOCAL_ADDRESS).value_or(""); }
  Text host() const { return get(WS_HOST); }
  Text user() const { return get(WS_USER); }
  Text auth_type() const { return get(WS_AUTH_TYPE); }
  Text extensions() const { return get(WS_EXTENSIONS); }
  Text tls_version() const { return get(WS_TLS_VERSION); }
  Text tls_cipher() const { return get(WS_TLS_CIPHER); }
  Text tls_server_name() const { return get(WS_TLS_SERVER_NAME); }
  Text tls_client_subject() const { return get(WS_TLS_CLIENT_SUBJECT); }

 private:
  Text get(ws_fact fact) const { return static_cast<const Of*>(this)->fact(fact); }
};

// A client that asks for a connection. Valid during handshake().
class Request : public Facts<Request> {
 public:
  explicit Request(ws_request* request) : request_(request) {}

  Text fact(ws_fact fact) const { return detail::view(detail::host->request_fact(request_, fact)); }
  std::string_view method() const { return fact(WS_METHOD).value_or(""); }
  std::string_view uri() const { return fact(WS_URI).value_or(""); }
  Text extensions_offered() const { return fact(WS_EXTENSIONS_OFFERED); }

  Text header(const char* name) const {
    return detail::view(detail::host->request_header(request_, name));
  }
  // Calls each(name, value), of type std::string_view, for every header; see
  // ws_host::request_headers. Throws what each throws, which is then called no more.
  template <class Each>
  void headers(Each each) const {
    struct Call {
      Each& each;
      std::exception_ptr thrown;
    } call{each, nullptr};
    auto one = [](void* context, const char* name, const char* value) {
      auto& now = *static_cast<Call*>(context);
      if (now.thrown) return;
      try {
        now.each(std::string_view(name), std::string_view(value));
      } catch (...) {
        now.thrown = std::current_exception();
      }
    };
    detail::host->request_headers(request_, one, &call);
    if (call.thrown) std::rethrow_exception(call.thrown);
  }
  Text cookie(const char* name) const {
    return detail::view(detail::host->request_cookie(request_, name));
  }
  // Of the query, decoded.
  Text parameter(const char* name) const {
    return detail::view(detail::host->request_parameter(request_, name));
  }
  // The subprotocols that the client offers, index from 0, in its order of preference.
  Text subprotocol(size_t index) const {
    return detail::view(detail::host->request_subprotocol(request_, index));
  }

  // Chooses the subprotocol if the client offers it; says whether it did.
  bool accept_subprotocol(const char* name) {
    return detail::host->accept_subprotocol(request_, name) == WS_OK;
  }
  ws_result add_header(const char* name, const std::string& value) {
    return detail::host->add_header(request_, name, value.c_str());
  }
  ws_result set_body(const char* content_type, std::string_view body) {
    return detail::host->set_body(request_, content_type, body.data(), body.size());
  }
  // For Connection::note().
  ws_result set_note(std::string_view note) {
    return detail::host->set_note(request_, note.data(), note.size());
  }

  ws_request* get() const { return request_; }

 private:
  ws_request* request_;
};

// One message for many connections. A reference: copies are cheap and share the message. Any
// thread.
class Buffer {
 public:
  Buffer() = default;  // none
  // Copies the data.
  explicit Buffer(Message message)
      : buffer_(detail::host->buffer(detail::host, message.type(), message.data.data(),
                                     message.data.size(), message.flags(), nullptr, nullptr)) {}
  // Takes over a string, without copying it.
  static Buffer of(std::string&& data, bool binary = false, bool compress = true) {
    Buffer buffer;
    auto* owned = new (std::nothrow) std::string(std::move(data));
    if (!owned) return buffer;
    Message message{*owned, binary, compress};
    buffer.buffer_ = detail::host->buffer(
        detail::host, message.type(), owned->data(), owned->size(), message.flags(),
        [](void* string) { delete static_cast<std::string*>(string); }, owned);
    if (!buffer.buffer_) delete owned;
    return buffer;
  }
  Buffer(const Buffer& other) : buffer_(other.buffer_) { detail::host->buffer_retain(buffer_); }
  Buffer(Buffer&& other) noexcept : buffer_(std::exchange(other.buffer_, nullptr)) {}
  Buffer& operator=(Buffer other) noexcept {
    std::swap(buffer_, other.buffer_);
    return *this;
  }
  ~Buffer() { detail::host->buffer_release(buffer_); }

  // False for none: no memory was left, or the text was not UTF-8.
  explicit operator bool() const { return buffer_; }
  const ws_buffer* get() const { return buffer_; }

 private:
  ws_buffer* buffer_ = nullptr;
};

// How a subscription begins; see ws_subscription.
struct Subscription {
  uint64_t since = 0;
  uint64_t last = 0;
  bool enveloped = false;

  ws_subscription raw() const {
    return {sizeof(ws_subscription), enveloped ? WS_ENVELOPED : 0, since, last};
  }
};

// How something is published; see ws_publishing.
struct Publishing {
  bool transient = false;  // not kept in the history

  uint32_t flags(const Message& message) const {
    return message.flags() | (transient ? WS_TRANSIENT : 0);
  }
};

// Publishes to all who have subscribed to the topic; see ws_host::publish. Any thread.
inline ws_result publish(std::string_view topic, Message message, Publishing options = {}) {
  ws_publishing how{sizeof how, options.flags(message), nullptr, nullptr};
  return detail::host->publish(detail::host, topic.data(), topic.size(), message.type(),
                               message.data.data(), message.data.size(), &how);
}
// Likewise, and calls done(const ws_published&) once the id is known, on any thread; on an error it
// is destroyed at once. An exception that leaves it is lost. Throws std::bad_alloc.
template <class Done>
ws_result publish(std::string_view topic, Message message, Publishing options, Done done);

class Connection;

// Names a connection, on any thread and for ever; see ws_handle. To be copied and kept at will.
class Handle {
 public:
  Handle() = default;  // names none
  explicit Handle(ws_handle handle) : handle_(handle) {}

  ws_result send(Message message) const {
    return detail::host->handle_send(handle_, message.type(), message.data.data(),
                                     message.data.size(), message.flags());
  }
  ws_result send(const Buffer& buffer) const {
    return detail::host->handle_send_buffer(handle_, buffer.get());
  }
  ws_result send_text(std::string_view text) const { return send({text, false}); }
  ws_result send_binary(std::string_view bytes) const { return send({bytes, true}); }
  ws_result close(uint16_t code = 1000, std::string_view reason = {}) const {
    return detail::host->handle_close(handle_, code, reason.data(), reason.size());
  }
  size_t buffered_amount() const { return detail::host->handle_buffered_amount(handle_); }
  bool is_open() const { return detail::host->handle_is_open(handle_); }

  // See ws_host::handle_subscribe and handle_unsubscribe.
  ws_result subscribe(std::string_view topic, const Subscription& how = {}) const {
    ws_subscription raw = how.raw();
    return detail::host->handle_subscribe(handle_, topic.data(), topic.size(), &raw);
  }
  ws_result unsubscribe(std::string_view topic) const {
    return detail::host->handle_unsubscribe(handle_, topic.data(), topic.size());
  }

  // Runs call(Connection&) as a callback of the connection. After WS_OK it is run, or destroyed
  // where the connection has gone; on an error it is destroyed at once. Throws std::bad_alloc.
  template <class Call>
  ws_result post(Call call) const;

  uint64_t id() const { return handle_.id; }
  explicit operator bool() const { return handle_.id; }
  friend bool operator==(const Handle& a, const Handle& b) { return a.id() == b.id(); }

 private:
  ws_handle handle_{0};
};

// An open connection: a view, to be used inside the connection's own callbacks only. The reference
// that a callback gets ends with the callback; for other threads and later there is handle().
class Connection : public Facts<Connection> {
 public:
  explicit Connection(ws_connection* connection) : connection_(connection) {}

  ws_result send(Message message) {
    return detail::host->send(connection_, message.type(), message.data.data(), message.data.size(),
                              message.flags());
  }
  ws_result send(const Buffer& buffer) {
    return detail::host->send_buffer(connection_, buffer.get());
  }
  ws_result send_text(std::string_view text) { return send({text, false}); }
  ws_result send_binary(std::string_view bytes) { return send({bytes, true}); }
  ws_result send_fragment(std::string_view data, bool binary, bool last) {
    return detail::host->send_fragment(connection_, binary ? WS_BINARY : WS_TEXT, data.data(),
                                       data.size(), last);
  }
  ws_result ping(std::string_view data = {}) {
    return detail::host->ping(connection_, data.data(), data.size());
  }
  // See ws_host::close. Code 0 sends a close frame without a code.
  ws_result close(uint16_t code = 1000, std::string_view reason = {}) {
    return detail::host->close(connection_, code, reason.data(), reason.size());
  }
  ws_result abort() { return detail::host->abort(connection_); }
  size_t buffered_amount() const { return detail::host->buffered_amount(connection_); }
  ws_result pause() { return detail::host->pause(connection_); }
  ws_result resume() { return detail::host->resume(connection_); }
  ws_result set_timer(uint64_t in_ms, uint32_t id = 0) {
    return detail::host->set_timer(connection_, id, in_ms);
  }
  ws_result cancel_timer(uint32_t id = 0) { return detail::host->cancel_timer(connection_, id); }
  Handle handle() const { return Handle(detail::host->handle(connection_)); }
  // See ws_host::subscribe and unsubscribe.
  ws_result subscribe(std::string_view topic, const Subscription& how = {}) {
    ws_subscription raw = how.raw();
    return detail::host->subscribe(connection_, topic.data(), topic.size(), &raw);
  }
  ws_result unsubscribe(std::string_view topic) {
    return detail::host->unsubscribe(connection_, topic.data(), topic.size());
  }

  Text fact(ws_fact fact) const { return detail::view(detail::host->fact(connection_, fact)); }
  Text note() const { return fact(WS_NOTE); }
  Text subprotocol() const { return fact(WS_SUBPROTOCOL); }
  // One of the headers named in keep_headers (see WEBSOCKET_HANDLER).
  Text header(const char* name) const {
    return detail::view(detail::host->header(connection_, name));
  }

  // Makes the handler's own object of this connection, instead of one made before. It is destroyed
  // when the close callback has returned. Throws what T's constructor throws, and std::bad_alloc.
  template <class T, class... Arguments>
  T& emplace(Arguments&&... arguments) {
    auto made = std::make_unique<Held<T>>(std::forward<Arguments>(arguments)...);
    T& object = made->object;
    drop();
    detail::host->set_user_data(connection_, static_cast<HeldBase*>(made.release()));
    return object;
  }
  // That object; nullptr if there is none, or one of another type. Valid until drop, the next
  // emplace or the end of close.
  template <class T>
  T* data() const {
    auto* held = static_cast<HeldBase*>(detail::host->user_data(connection_));
    bool is_it = held && held->tag == &detail::type_tag<T>;
    return is_it ? &static_cast<Held<T>*>(held)->object : nullptr;
  }
  // Destroys that object, if there is one.
  void drop() {
    delete static_cast<HeldBase*>(detail::host->user_data(connection_));
    detail::host->set_user_data(connection_, nullptr);
  }

  ws_connection* get() const { return connection_; }

 private:
  struct HeldBase {
    explicit HeldBase(const void* t) : tag(t) {}
    virtual ~HeldBase() = default;
    const void* tag;
  };
  template <class T>
  struct Held final : HeldBase {
    template <class... Arguments>
    explicit Held(Arguments&&... arguments)
        : HeldBase(&detail::type_tag<T>), object{std::forward<Arguments>(arguments)...} {}
    T object;
  };

  ws_connection* connection_;
};

class Handler {
 public:
  virtual ~Handler() = default;
  // Hide it by one that is true where callbacks may block; see WS_BLOCKING.
  static constexpr bool blocking = false;

  // 0 accepts, 300 to 599 rejects with that status. May block; several at a time.
  virtual int handshake(Request&) { return 0; }
  virtual void open(Connection&) {}
  // Without either, what clients send is dropped. With fragment, message is never called.
  virtual void message(Connection&, Message) {}
  virtual void fragment(Connection&, Fragment) {}
  virtual void drained(Connection&) {}
  virtual void ping(Connection&, std::string_view) {}
  virtual void pong(Connection&, std::string_view) {}
  virtual void timer(Connection&, uint32_t /*id*/) {}
  // See ws_handler::subscribed and gap.
  virtual void subscribed(Connection&, std::string_view /*topic*/, ws_result, uint64_t /*id*/) {}
  virtual void gap(Connection&, std::string_view /*topic*/) {}
  virtual void close(Connection&, uint16_t /*code*/, std::string_view /*reason*/, bool /*clean*/) {}
};

namespace detail {

inline void log_exception(const char* callback) noexcept {
  char line[512];
  try {
    throw;
  } catch (const std::exception& error) {
    snprintf(line, sizeof line, "exception in %s: %s", callback, error.what());
  } catch (...) {
    snprintf(line, sizeof line, "exception in %s", callback);
  }
  host->log(host, WS_ERROR, line);
}

// Runs a callback of a connection; an exception closes it.
template <class Call>
void guard(const char* callback, ws_connection* connection, Call call) noexcept {
  try {
    Connection view(connection);
    call(view);
  } catch (...) {
    log_exception(callback);
    host->close(connection, 1011, nullptr, 0);
  }
}

inline std::string_view bytes(const void* data, size_t size) {
  return {static_cast<const char*>(data), size};
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
  static void open(void* state, ws_connection* c) noexcept {
    guard("open", c, [&](Connection& view) { self(state)->open(view); });
  }
  static void message(void* state, ws_connection* c, ws_type type, const void* data,
                      size_t size) noexcept {
    guard("message", c, [&](Connection& view) {
      self(state)->message(view, {bytes(data, size), type == WS_BINARY});
    });
  }
  static void close(void* state, ws_connection* c, uint16_t code, const char* reason, size_t size,
                    int clean) noexcept {
    guard("close", c,
          [&](Connection& view) { self(state)->close(view, code, bytes(reason, size), clean); });
    guard("close", c, [&](Connection& view) { view.drop(); });
  }
  static void fragment(void* state, ws_connection* c, ws_type type, const void* data, size_t size,
                       uint32_t flags) noexcept {
    guard("fragment", c, [&](Connection& view) {
      self(state)->fragment(view, {bytes(data, size), type == WS_BINARY, (flags & WS_FIRST) != 0,
                                   (flags & WS_LAST) != 0});
    });
  }
  static void drained(void* state, ws_connection* c) noexcept {
    guard("drained", c, [&](Connection& view) { self(state)->drained(view); });
  }
  static void ping(void* state, ws_connection* c, const void* data, size_t size) noexcept {
    guard("ping", c, [&](Connection& view) { self(state)->ping(view, bytes(data, size)); });
  }
  static void pong(void* state, ws_connection* c, const void* data, size_t size) noexcept {
    guard("pong", c, [&](Connection& view) { self(state)->pong(view, bytes(data, size)); });
  }
  static void timer(void* state, ws_connection* c, uint32_t id) noexcept {
    guard("timer", c, [&](Connection& view) { self(state)->timer(view, id); });
  }
  static void subscribed(void* state, ws_connection* c, const char* topic, size_t size,
                         ws_result result, uint64_t id) noexcept {
    guard("subscribed", c,
          [&](Connection& view) { self(state)->subscribed(view, bytes(topic, size), result, id); });
  }
  static void gap(void* state, ws_connection* c, const char* topic, size_t size) noexcept {
    guard("gap", c, [&](Connection& view) { self(state)->gap(view, bytes(topic, size)); });
  }

  // A callback that T has not overridden is not in the table.
  template <class Base, class Own, class Entry>
  static Entry* if_own(Base, Own, Entry* entry) {
    return std::is_same_v<Base, Own> ? nullptr : entry;
  }
  static ws_handler make(const char* const* keep_headers) {
    static_assert(std::is_base_of_v<Handler, T>, "derive it from websocket::Handler");
    ws_handler table{};
    table.size = sizeof table;
    table.abi = WS_ABI_VERSION;
    table.flags = T::blocking ? WS_BLOCKING : 0;
    table.keep_headers = keep_headers;
    table.configure = configure;
    table.shutdown = shutdown;
    table.handshake = if_own(&Handler::handshake, &T::handshake, handshake);
    table.open = if_own(&Handler::open, &T::open, open);
    table.message = message;
    table.close = close;
    table.fragment = if_own(&Handler::fragment, &T::fragment, fragment);
    table.drained = if_own(&Handler::drained, &T::drained, drained);
    table.ping = if_own(&Handler::ping, &T::ping, ping);
    table.pong = if_own(&Handler::pong, &T::pong, pong);
    table.timer = if_own(&Handler::timer, &T::timer, timer);
    table.subscribed = if_own(&Handler::subscribed, &T::subscribed, subscribed);
    table.gap = if_own(&Handler::gap, &T::gap, gap);
    return table;
  }
};

}  // namespace detail

template <class Call>
ws_result Handle::post(Call call) const {
  auto* posted = new Call(std::move(call));
  auto run = [](ws_connection* connection, void* context) {
    std::unique_ptr<Call> mine(static_cast<Call*>(context));
    if (connection) detail::guard("a posted call", connection, *mine);
  };
  ws_result result = detail::host->handle_post(handle_, run, posted);
  if (result != WS_OK) delete posted;
  return result;
}

template <class Done>
ws_result publish(std::string_view topic, Message message, Publishing options, Done done) {
  auto* held = new Done(std::move(done));
  auto call = [](void* context, const ws_published* published) {
    std::unique_ptr<Done> mine(static_cast<Done*>(context));
    try {
      (*mine)(*published);
    } catch (...) {
    }
  };
  ws_publishing how{sizeof how, options.flags(message), call, held};
  ws_result result = detail::host->publish(detail::host, topic.data(), topic.size(), message.type(),
                                           message.data.data(), message.data.size(), &how);
  if (result < 0) delete held;
  return result;
}

}  // namespace websocket

// Exports the class as the handler of this shared object. Further arguments are the names of
// request headers to keep for Connection::header: WEBSOCKET_HANDLER(Chat, "Cookie", "User-Agent")
#define WEBSOCKET_HANDLER(Class, ...)                                                    \
  extern "C" WS_EXPORT const ws_handler* websocket_handler(const ws_host* host) {        \
    static const char* const keep_headers[] = {__VA_ARGS__ __VA_OPT__(, ) nullptr};      \
    static const ws_handler table = websocket::detail::Table<Class>::make(keep_headers); \
    websocket::detail::host = host;                                                      \
    return &table;                                                                       \
  }
