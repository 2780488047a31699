#include "src/handler/handler.h"

#include <cstdio>
#include <cstring>
#include <exception>
#include <string>
#include <vector>

#include "src/base/clock.h"
#include "src/base/connection_id.h"
#include "src/handler/peer.h"
#include "src/protocol/close_code.h"

namespace mws {

FAST_THREAD_LOCAL CurrentCall current_call;
FAST_THREAD_LOCAL const Handler* current_handler = nullptr;
FAST_THREAD_LOCAL const HandshakeRequest* current_request = nullptr;

namespace {

ws_request* abi(HandshakeRequest& request) { return reinterpret_cast<ws_request*>(&request); }

ws_connection& peer_of(Connection& connection) {
  return static_cast<ws_connection&>(*connection.attachment());
}

// Who the connection is, for the start of a line; a blank ends it.
std::string name_in_log(const ws_connection* peer) {
  if (!peer || !peer->id) return "";
  ws_text client = peer->facts.fact(WS_REMOTE_ADDRESS);
  return "[client " + std::string(client.data ? client.data : "unknown") + ", connection " +
         id_text(peer->id).data() + "] ";
}

// A text's bytes with the zero byte behind it.
struct WithZero {
  operator Bytes() const { return {bytes, size}; }
  uint8_t bytes[kMaxTopic + 1];
  size_t size;
};

WithZero with_zero(std::string_view topic) {
  WithZero copy;
  copy.size = topic.copy(reinterpret_cast<char*>(copy.bytes), kMaxTopic);
  copy.bytes[copy.size++] = 0;
  return copy;
}

}  // namespace

Handler::Handler(std::shared_ptr<Library> library, Settings settings)
    : library_(std::move(library)),
      table_(library_->table()),
      config_{std::move(settings.params)},
      location_(std::move(settings.location)),
      needs_thread_(library_->plugin() && !settings.may_detach),
      max_subscriptions_(settings.max_subscriptions) {
  library_->add_location(location_);
  if (library_->plugin()) state_ = this;
  int workers = needs_thread_ ? 0 : settings.workers;
  if (workers < 0) workers = table_.flags & WS_BLOCKING ? int(kDefaultWorkers) : 0;
  if (workers) workers_ = std::make_unique<Workers>(unsigned(workers));
}

Handler::~Handler() {
  workers_.reset();
  if (configured_ && table_.shutdown) guarded("shutdown", [&] { table_.shutdown(state_); });
}

Result<std::unique_ptr<Handler>> Handler::configure(std::shared_ptr<Library> library,
                                                    Settings settings) {
  bool own_thread = library->plugin() && !settings.may_detach;
  if (!settings.workers && library->table().flags & WS_BLOCKING && !own_thread)
    return Failure{library->path() +
                   (library->plugin() ? ": is a plugin of apache-websocket, which may block"
                                      : ": says that it blocks") +
                   ", so WebSocketWorkers must be 1 or more for it"};
  std::unique_ptr<Handler> handler(new Handler(std::move(library), std::move(settings)));
  if (!handler->table_.configure) {
    handler->configured_ = true;
    return handler;
  }
  char error[512] = "";
  int failed = 1;
  handler->guarded("configure", [&] {
    failed = handler->table_.configure(&handler->config_, &handler->state_, error, sizeof error);
  });
  error[sizeof error - 1] = 0;
  if (failed)
    return Failure{handler->library_->path() + ": " +
                   (*error ? error : "configure failed and does not say why")};
  handler->configured_ = true;
  return handler;
}

int Handler::handshake(HandshakeRequest& request) noexcept {
  if (!table_.handshake) return 0;
  int status = 500;
  current_request = &request;
  bool fine = guarded("handshake", [&] { status = table_.handshake(state_, abi(request)); });
  current_request = nullptr;
  if (!fine) return 500;
  if (status == 0 && request.forged) {
    log(LogLevel::error, "WS405", [] {
      return std::string(
          "handshake chose a subprotocol with a line break or another control character");
    });
    return 500;
  }
  if (status == 0 || (status >= 300 && status <= 599)) return status;
  log(LogLevel::error, "WS406", [=] {
    return "handshake returned " + std::to_string(status) +
           ", which is neither 0 nor a status from 300 to 599";
  });
  return 500;
}

Ref<Attachment> Handler::attach(const HandshakeRequest& request) {
  auto peer = make_ref<ws_connection>(*this, request, table_.keep_headers);
  if (workers_) workers_->start();
  return peer;
}

// --- Events ---

// A connection for which there is no memory is never open for its handler.
void Handler::on_open(Connection& connection) noexcept {
  ws_connection& peer = peer_of(connection);
  peer.connection = &connection;
  try {
    if (workers_) give_strand(peer, connection);
    if (peer.companion()) peer.companion()->loop_open(peer, connection);
  } catch (const std::bad_alloc&) {
    peer.drop_workers();
    return connection.abort();
  }
  bool is_told =
      !table_.open || dispatch("open", connection, Strand::Kind::notice, {},
                               [this](ws_connection& to, Bytes) { table_.open(state_, &to); });
  if (!is_told) peer.drop_workers();
}

// With all that its end will need.
void Handler::give_strand(ws_connection& peer, Connection& connection) {
  ws_connection::Rare& rare = peer.make_rare();
  rare.remote = Remote::make(peer, connection);
  std::weak_ptr<Remote> remote = rare.remote;
  auto resume = [remote] {
    if (auto there = remote.lock())
      there->any_thread_post([](Connection& c) { c.resume(Connection::by_host); });
  };
  auto last = [this, &peer] {
    if (!table_.close) return;
    const auto& end = *peer.on_workers();
    call("close", peer, false, [&] {
      table_.close(state_, &peer, end.close_code, end.close_reason, end.close_reason_size,
                   end.close_clean);
    });
  };
  auto on_workers = std::make_unique<ws_connection::OnWorkers>();
  on_workers->strand = std::make_shared<Strand>(*workers_, resume, last);
  rare.on_workers = std::move(on_workers);
}

void Handler::on_message(Connection& connection, Opcode type, Bytes payload) noexcept {
  dispatch("message", connection, Strand::Kind::input, payload,
           [this, type](ws_connection& to, Bytes data) {
             table_.message(state_, &to, ws_type(type), data.data(), data.size());
           });
}

void Handler::on_piece(Connection& connection, Opcode type, Bytes piece, bool first,
                       bool last) noexcept {
  uint32_t flags = (first ? WS_FIRST : 0) | (last ? WS_LAST : 0);
  dispatch("fragment", connection, Strand::Kind::input, piece,
           [this, type, flags](ws_connection& to, Bytes data) {
             table_.fragment(state_, &to, ws_type(type), data.data(), data.size(), flags);
           });
}

void Handler::on_ping(Connection& connection, Bytes payload) noexcept {
  if (!table_.ping) return;
  dispatch("ping", connection, Strand::Kind::input, payload, [this](ws_connection& to, Bytes data) {
    table_.ping(state_, &to, data.data(), data.size());
  });
}

void Handler::on_pong(Connection& connection, Bytes payload) noexcept {
  if (!table_.pong) return;
  dispatch("pong", connection, Strand::Kind::input, payload, [this](ws_connection& to, Bytes data) {
    table_.pong(state_, &to, data.data(), data.size());
  });
}

void Handler::on_drained(Connection& connection) noexcept {
  if (auto* companion = peer_of(connection).companion()) companion->loop_drained();
  if (auto* subscriptions = peer_of(connection).subscriptions()) subscriptions->loop_drained();
  if (!table_.drained) return;
  // One that has not run yet tells of all that was sent so far.
  auto* there = peer_of(connection).on_workers();
  if (there && there->drained_waits.exchange(true)) return;
  dispatch("drained", connection, Strand::Kind::notice, {},
           [this, there](ws_connection& to, Bytes) {
             if (there) there->drained_waits = false;
             table_.drained(state_, &to);
           });
}

void Handler::on_timer(Connection& connection, uint32_t id) noexcept {
  if (!table_.timer) return;
  auto* there = peer_of(connection).on_workers();
  uint32_t turn = there ? there->timer_turns_done[id] : 0;
  dispatch("timer", connection, Strand::Kind::notice, {},
           [this, id, there, turn](ws_connection& to, Bytes) {
             if (!there || there->timer_turns_asked[id] == turn) table_.timer(state_, &to, id);
           });
}

void Handler::tell_subscribed(Connection& connection, std::string_view topic, ws_result result,
                              uint64_t id) noexcept {
  if (!table_.subscribed) return;
  dispatch("subscribed", connection, Strand::Kind::notice, with_zero(topic),
           [this, result, id](ws_connection& to, Bytes name) {
             auto* text = reinterpret_cast<const char*>(name.data());
             table_.subscribed(state_, &to, text, name.size() - 1, result, id);
           });
}

void Handler::tell_gap(Connection& connection, std::string_view topic) noexcept {
  if (!table_.gap) return;
  dispatch("gap", connection, Strand::Kind::notice, with_zero(topic),
           [this](ws_connection& to, Bytes name) {
             auto* text = reinterpret_cast<const char*>(name.data());
             table_.gap(state_, &to, text, name.size() - 1);
           });
}

void Handler::on_close(Connection& connection, uint16_t code, std::string_view reason,
                       bool clean) noexcept {
  ws_connection& peer = peer_of(connection);
  peer.ended = true;
  peer.drop_subscriptions();
  if (peer.remote()) peer.remote()->gone();
  if (peer.companion()) peer.companion()->loop_gone();
  if (ws_connection::OnWorkers* there = peer.on_workers()) {
    there->close_code = code;
    there->close_clean = clean;
    there->close_reason_size = uint8_t(reason.copy(there->close_reason, kMaxCloseReason));
    there->strand->end(Ref(&peer));
  } else if (!workers_ && table_.close) {
    call("close", peer, true,
         [&] { table_.close(state_, &peer, code, reason.data(), reason.size(), clean); });
  }
  peer.connection = nullptr;
}

void Handler::on_rule_broken(Connection& connection, Rule rule) noexcept {
  const RuleText& text = describe(rule);
  try {
    std::string left_out;
    if (!rule_limit_.allows(left_out)) return;
    log(
        LogLevel::info, "WS301",
        [&] {
          char line[256];
          snprintf(line, sizeof line, "closed with %u: %s (RFC %d section %s)",
                   unsigned(text.close_code), text.message, text.rfc, text.section);
          return line + left_out;
        },
        &peer_of(connection));
  } catch (const std::bad_alloc&) {
    // No memory left to log.
  }
}

void Handler::on_slow(uint64_t ms, bool still) noexcept {
  if (workers_) return;
  try {
    std::string left_out;
    if (!slow_limit_.allows(left_out)) return;
    log(LogLevel::warning, "WS407", [&] {
      return "held up its event loop, and all other connections there, for " + std::to_string(ms) +
             " ms" + (still ? " and still does" : "") +
             "; what blocks belongs on workers: WS_BLOCKING, or WebSocketWorkers" + left_out;
    });
  } catch (const std::bad_alloc&) {
    // No memory left to log.
  }
}

bool Handler::finish(uint64_t within_ms, bool may_log) {
  if (!workers_ || workers_->finish(within_ms)) return true;
  if (may_log)
    log(LogLevel::error, "WS408",
        [] { return std::string("a callback on a worker does not return"); });
  return false;
}

// --- Calls ---

static bool brings_message(std::string_view callback) {
  return callback == "message" || callback == "fragment";
}

// Runs a callback on the loop, or has a worker run it, which needs a copy of the payload. False,
// and the connection ends, if there is no memory for that.
template <class Call>
bool Handler::dispatch(const char* callback, Connection& connection, Strand::Kind kind,
                       Bytes payload, Call made) noexcept {
  ws_connection& peer = peer_of(connection);
  if (!workers_) {
    call(callback, peer, true, [&] { made(peer, payload); });
    return true;
  }
  if (!peer.on_workers()) return false;
  try {
    auto event = [this, callback, made, held = Ref(&peer), &site = connection.site(),
                  copy = std::vector<uint8_t>(payload.begin(), payload.end())] {
      uint64_t before_ns = monotonic_ns();
      call(callback, *held, false, [&] { made(*held, copy); });
      if (brings_message(callback)) site.message_took(monotonic_ns() - before_ns);
    };
    Strand& strand = *peer.on_workers()->strand;
    if (!strand.add(kind, payload.size(), std::move(event), &connection.loop()))
      connection.pause(Connection::by_host);
    return true;
  } catch (const std::bad_alloc&) {
    connection.abort();
    return false;
  }
}

void Handler::run_posted(ws_connection& peer, bool on_loop,
                         const std::function<void(ws_connection&)>& posted) noexcept {
  call("a posted call", peer, on_loop, [&] { posted(peer); });
}

// Marks the thread as being in a callback of the connection, which an exception closes.
template <class Call>
void Handler::call(const char* callback, ws_connection& peer, bool on_loop, Call made) noexcept {
  // Should it block, others' workers need not wait for it.
  if (on_loop) peer.connection->loop().run_deferred();
  CurrentCall outer = std::exchange(current_call, {&peer, on_loop});
  bool fine = guarded(callback, made);
  current_call = outer;
  if (fine) return;
  if (on_loop) peer.connection->close(kCloseInternalError, "");
  else worker_insist([&] { peer.remote()->any_thread_close(kCloseInternalError, ""); });
}

// False, and a line in the log, if an exception left it.
template <class Call>
bool Handler::guarded(const char* callback, Call made) noexcept {
  struct Current {
    const Handler* outer;
    ~Current() { current_handler = outer; }
  } current{std::exchange(current_handler, this)};
  try {
    made();
    return true;
  } catch (const std::exception& error) {
    log_left(callback, error.what());
  } catch (...) {
    log_left(callback, "");
  }
  return false;
}

void Handler::log_left(const char* callback, const char* why) const noexcept {
  log(LogLevel::error, "WS401",
      [&] { return std::string("exception left ") + callback + (*why ? ": " : "") + why; });
}

// Of the connection whose callback the thread is in, if it is in one.
template <class Line>
void Handler::log(LogLevel level, const char* code, Line line) const noexcept {
  log(level, code, line, current_call.peer);
}

// Writes the line that is made, if there is memory for it.
template <class Line>
void Handler::log(LogLevel level, const char* code, Line line,
                  const ws_connection* about) const noexcept {
  try {
    library_->log(level, code, location_.empty() ? line() : location_ + ": " + line(),
                  name_in_log(about));
  } catch (const std::bad_alloc&) {
    library_->log(level, code, "no memory left to say what is wrong");
  }
}

void Handler::log_mistake(const char* function, const char* what) const noexcept {
  try {
    library_->log_mistake(location_, function, what, name_in_log(current_call.peer));
  } catch (const std::bad_alloc&) {
    // No memory left to log.
  }
}

}  // namespace mws
