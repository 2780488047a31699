#include "src/handler/plugin_connection.h"

#include <algorithm>
#include <cstring>
#include <exception>

#include "src/handler/handler.h"
#include "src/handler/host_support.h"
#include "src/handler/peer.h"
#include "src/protocol/close_code.h"
#include "src/protocol/header_list.h"

namespace mws {

namespace {

constexpr uint16_t kCloseNormal = 1000;

// Whose on_connect the thread is in.
thread_local constinit PluginConnection* connecting = nullptr;

// --- What the plugin calls ---

void* get_request(const PluginServer* server) noexcept {
  PluginConnection* connection = PluginConnection::of(server);
  return connection ? connection->request() : nullptr;
}

const char* get_header(const PluginServer* server, const char* name) noexcept {
  PluginConnection* connection = PluginConnection::of(server);
  return connection && name ? connection->header(name) : nullptr;
}

void set_header(const PluginServer* server, const char* name, const char* value) noexcept {
  PluginConnection* connection = PluginConnection::of(server);
  if (!connection || connection != connecting || !name || !value) return;
  or_no_memory([&] {
    connection->handshake_set_header(name, value);
    return WS_OK;
  });
}

size_t count_protocols(const PluginServer* server) noexcept {
  PluginConnection* connection = PluginConnection::of(server);
  return connection ? connection->subprotocols().size() : 0;
}

const char* get_protocol(const PluginServer* server, size_t index) noexcept {
  return index < count_protocols(server)
             ? PluginConnection::of(server)->subprotocols()[index].c_str()
             : nullptr;
}

void set_protocol(const PluginServer* server, const char* protocol) noexcept {
  PluginConnection* connection = PluginConnection::of(server);
  if (connection && connection == connecting && protocol)
    connection->handshake_set_subprotocol(protocol);
}

size_t send(const PluginServer* server, int type, const unsigned char* data, size_t size) noexcept {
  PluginConnection* connection = PluginConnection::of(server);
  if (!connection) return 0;
  bool sent = false;
  or_no_memory([&] {
    sent = connection->any_thread_send(type, bytes_from(data, data ? size : 0));
    return WS_OK;
  });
  return sent && data ? size : 0;
}

void close(const PluginServer* server) noexcept {
  PluginConnection* connection = PluginConnection::of(server);
  if (!connection) return;
  or_no_memory([&] {
    connection->any_thread_close(kCloseNormal, "");
    return WS_OK;
  });
}

PluginServer server_for(PluginConnection* connection) {
  return {sizeof(PluginServer),
          1,
          reinterpret_cast<PluginState*>(connection),
          get_request,
          get_header,
          set_header,
          count_protocols,
          get_protocol,
          set_protocol,
          send,
          close};
}

// What sends a message; drained is told even if it goes at once, as threads may wait for it.
Remote::Work work_to_send(int type, Bytes payload) {
  if (type == kPluginText || type == kPluginBinary) {
    Opcode opcode = type == kPluginText ? Opcode::text : Opcode::binary;
    return [message = std::make_shared<const PreparedMessage>(opcode, payload)](Connection& to) {
      to.send(message);
      to.owe_drained();
    };
  }
  bool ping = type == kPluginPing;
  return [ping, copy = std::vector<uint8_t>(payload.begin(), payload.end())](Connection& to) {
    ping ? to.ping(copy) : to.pong(copy);
    to.owe_drained();
  };
}

Remote::Work work_to_close(uint16_t code, std::string_view reason) {
  return [code, text = std::string(reason)](Connection& to) { to.close(code, text); };
}

}  // namespace

PluginConnection::PluginConnection(Handler& handler, HandshakeRequest& request)
    : handler_(handler),
      plugin_(*handler.plugin()),
      server_(server_for(this)),
      subprotocols_(request.subprotocols),
      handshake_(&request),
      request_(request.native) {
  request.each_header(
      [](void* to, const char* name, const char* value) {
        static_cast<PluginConnection*>(to)->headers_.emplace_back(name, value);
      },
      this);
}

PluginConnection::~PluginConnection() {
  loop_gone();
  try {
    disconnect();
  } catch (...) {
    // The handler logs only what leaves its callbacks, of which this is none.
  }
}

PluginConnection* PluginConnection::of(const PluginServer* server) {
  return server ? reinterpret_cast<PluginConnection*>(server->state) : nullptr;
}

// --- The plugin's callbacks ---

bool PluginConnection::connect() {
  struct Connecting {
    explicit Connecting(PluginConnection* now) { connecting = now; }
    ~Connecting() { connecting = nullptr; }
  };
  if (plugin_.on_connect) {
    Connecting now(this);
    own_ = plugin_.on_connect(&server_);
    if (!own_) return false;
  }
  handshake_ = nullptr;
  if (!handler_.needs_thread()) request_ = nullptr;
  disconnect_is_due_ = true;
  return true;
}

void PluginConnection::message(PluginType type, Bytes payload) {
  unsigned char nothing = 0;
  // It may write there: these bytes are nobody else's.
  auto* data = payload.empty() ? &nothing : const_cast<uint8_t*>(payload.data());
  struct Busy {
    explicit Busy(PluginConnection* of) : connection(of) {
      if (connection) connection->set_busy(true);
    }
    ~Busy() {
      if (connection) connection->set_busy(false);
    }
    PluginConnection* connection;
  } busy(connection_here() ? this : nullptr);
  plugin_.on_message(own_, &server_, type, data, payload.size());
}

void PluginConnection::set_busy(bool busy) {
  std::lock_guard hold(lock_);
  busy_ = busy;
  if (busy) room_.notify_all();
}

void PluginConnection::disconnect() {
  if (!std::exchange(disconnect_is_due_, false) || !plugin_.on_disconnect) return;
  plugin_.on_disconnect(own_, &server_);
}

// --- The opening handshake ---

const char* PluginConnection::header(std::string_view name) const {
  for (const auto& [each, value] : headers_)
    if (equal_ignoring_case(each, name)) return value.c_str();
  return nullptr;
}

void PluginConnection::handshake_set_header(const char* name, const char* value) {
  if (equal_ignoring_case(name, "Sec-WebSocket-Protocol")) return handshake_set_subprotocol(value);
  if (!may_be_added(name, value)) {
    mistake("header_set",
            "a name that is no token or one of the server's own headers, or a value "
            "with a control character");
    return;
  }
  auto& headers = handshake_->response_headers;
  std::erase_if(headers, [&](const auto& each) { return equal_ignoring_case(each.first, name); });
  headers.emplace_back(name, value);
}

// A client must not get one that it did not offer (RFC 6455 §4.2.2).
void PluginConnection::handshake_set_subprotocol(std::string_view name) {
  for (const std::string& each : handshake_->subprotocols)
    if (each == name) handshake_->facts.set(WS_SUBPROTOCOL, {each.c_str(), each.size()});
}

// --- Sending ---

bool PluginConnection::any_thread_send(int type, Bytes payload) {
  if (!is_allowed(type, payload)) return false;
  if (type != kPluginClose) return send_data(type, payload);
  if (payload.empty()) return any_thread_close(kCloseNoCode, "");
  return any_thread_close(uint16_t(payload[0] << 8 | payload[1]), text_of(payload.subspan(2)));
}

// Its own thread is the one that writes to the socket: what is sent there has left, or is in the
// queue, when the call returns, as the callback may go on for long. To wait for others would be to
// wait for itself.
bool PluginConnection::send_data(int type, Bytes payload) {
  if (ended_) return false;
  Remote::Work work = work_to_send(type, payload);
  if (Connection* here = connection_here()) {
    remote_->loop_catch_up(*here);
    if (!here->make_room()) return false;
    work(*here);
    here->flush();
    return true;
  }
  std::unique_lock hold(lock_);
  if (connecting == this && !has_room()) return false;  // it opens when this thread is done
  room_.wait(hold, [this] { return ended_ || has_room(); });
  if (ended_) return false;
  size_t bytes = payload.size();
  if (remote_) return remote_->any_thread_send(bytes, std::move(work)) != SendResult::closed;
  early_.push_back(std::move(work));
  early_bytes_ += Remote::kErrandBytes + bytes;
  return true;
}

bool PluginConnection::any_thread_close(uint16_t code, std::string_view reason) {
  Connection* here = connection_here();
  if (here) remote_->loop_catch_up(*here);
  std::lock_guard hold(lock_);
  if (ended_) return false;
  if (!remote_) early_.push_back(work_to_close(code, reason));
  else if (!here) remote_->any_thread_close(code, reason);
  ended_ = true;
  room_.notify_all();
  if (!here) return true;
  remote_->closing();
  return here->close(code, reason);
}

// Nullptr unless the thread is in a callback on the connection's own loop.
Connection* PluginConnection::connection_here() const {
  const ws_connection* peer = peer_;
  return peer && current_call.peer == peer && current_call.on_loop ? peer->connection : nullptr;
}

bool PluginConnection::is_allowed(int type, Bytes payload) {
  switch (type) {
    case kPluginText: return is_utf8(payload) || mistake("send", kNotUtf8);
    case kPluginBinary: return true;
    case kPluginPing:
    case kPluginPong:
      return payload.size() <= kMaxControlPayload || mistake("send", "more than 125 bytes");
    case kPluginClose: {
      if (payload.empty()) return true;
      if (payload.size() == 1) return mistake("send", "half of a close code");
      std::string_view reason = text_of(payload.subspan(2));
      uint16_t code = uint16_t(payload[0] << 8 | payload[1]);
      // For 0 would mean a close frame without a code.
      const char* wrong =
          wrong_with_close(code ? code : kCloseNoCode, reason.data(), reason.size());
      return !wrong || mistake("send", wrong);
    }
    default: return mistake("send", "a type of message that there is not");
  }
}

// Once for a connection.
bool PluginConnection::mistake(const char* function, const char* what) {
  if (!told_of_mistake_.exchange(true)) handler_.log_mistake(function, what);
  return false;
}

// --- The connection's life ---

void PluginConnection::loop_open(ws_connection& peer, Connection& connection) {
  ws_connection::Rare& rare = peer.make_rare();
  if (!rare.remote) rare.remote = Remote::make(peer, connection);
  std::lock_guard hold(lock_);
  for (const Remote::Work& each : early_) each(connection);
  early_.clear();
  early_bytes_ = 0;
  remote_ = rare.remote;
  peer_ = &peer;
  if (ended_) remote_->closing();
  room_.notify_all();
}

void PluginConnection::loop_drained() noexcept {
  std::lock_guard hold(lock_);
  room_.notify_all();
}

void PluginConnection::loop_gone() noexcept {
  std::lock_guard hold(lock_);
  ended_ = true;
  room_.notify_all();
}

}  // namespace mws
