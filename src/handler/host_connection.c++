// The functions of the host that take a connection: those of its callbacks.
#include <memory>
#include <vector>

#include "src/engine/loop.h"
#include "src/handler/host_support.h"
#include "src/protocol/close_code.h"

namespace mws {

const char* wrong_with(ws_type type, const void* data, size_t size, uint32_t flags) {
  if (type != WS_TEXT && type != WS_BINARY) return "neither WS_TEXT nor WS_BINARY";
  if (flags & ~WS_UNCOMPRESSED) return "another flag than WS_UNCOMPRESSED";
  if (!data_is_fine(data, size)) return "NULL with a size, or more bytes than there can be";
  return nullptr;
}

const char* wrong_with_close(uint16_t code, const char* reason, size_t reason_size) {
  if (!data_is_fine(reason, reason_size) || reason_size > kMaxCloseReason)
    return "a reason of more than 123 bytes, or NULL with a size";
  if (code ? !may_be_sent(code) : reason_size > 0)
    return "a code that may not be sent, or a reason without a code";
  if (!is_utf8(bytes_of(std::string_view(reason_size ? reason : "", reason_size))))
    return "a reason that is not UTF-8";
  return nullptr;
}

namespace {

static_assert(Connection::kTimers == WS_TIMERS);

// Does the work now on the loop's thread, or has the loop do it where a worker asks for it.
template <class Work>
ws_result now_or_soon(ws_connection& peer, Work work) {
  if (!current_call.on_loop)
    return or_no_memory([&] { return peer.remote()->any_thread_post(work) ? WS_OK : WS_CLOSED; });
  if (peer.ended) return WS_CLOSED;
  return or_no_memory([&] {
    work(*peer.connection);
    return WS_OK;
  });
}

// From a worker, the timer may be due before the loop hears of it: that call is dropped.
template <class Work>
ws_result timer_now_or_soon(ws_connection& peer, uint32_t id, Work work) {
  if (current_call.on_loop) return now_or_soon(peer, work);
  return or_no_memory([&] {
    auto& there = *peer.on_workers();
    uint32_t turn = there.timer_turns_asked[id] + 1;
    auto on_loop = [&there, id, turn, work](Connection& to) {
      there.timer_turns_done[id] = turn;
      work(to);
    };
    if (!peer.remote()->any_thread_post(on_loop)) return WS_CLOSED;
    there.timer_turns_asked[id] = turn;
    return WS_OK;
  });
}

ws_result send(ws_connection* connection, ws_type type, const void* data, size_t size,
               uint32_t flags) noexcept {
  ws_connection* peer = in_callback_of(connection, CALLER, "send");
  if (!peer) return WS_WRONG_THREAD;
  if (const char* wrong = wrong_with(type, data, size, flags))
    return mistake(peer, CALLER, "send", wrong, WS_INVALID);
  Bytes payload = bytes_from(data, size);
  bool may_compress = !(flags & WS_UNCOMPRESSED);
  bool on_loop = current_call.on_loop;
  // A text that goes back as it came has been checked on its way in.
  if (type == WS_TEXT &&
      !(on_loop && peer->connection->loop().is_current_message(Opcode::text, payload)) &&
      !is_utf8(payload))
    return mistake(peer, CALLER, "send", kNotUtf8, WS_INVALID);
  if (on_loop) return result_of(peer->connection->send(Opcode(type), payload, may_compress));
  return or_no_memory([&] {
    return result_of(peer->remote()->any_thread_send(
        std::make_shared<PreparedMessage>(Opcode(type), payload, may_compress)));
  });
}

ws_result send_buffer(ws_connection* connection, const ws_buffer* buffer) noexcept {
  ws_connection* peer = in_callback_of(connection, CALLER, "send_buffer");
  if (!peer) return WS_WRONG_THREAD;
  if (!buffer) return mistake(peer, CALLER, "send_buffer", "NULL is no buffer", WS_INVALID);
  if (current_call.on_loop) return result_of(peer->connection->send(message_of(*buffer)));
  return or_no_memory(
      [&] { return result_of(peer->remote()->any_thread_send(message_of(*buffer))); });
}

// What the message that is sent in fragments is after its next piece: the text is checked on the
// way. Or what is wrong with the piece.
const char* follow_fragment(const ws_connection& peer, ws_type type, Bytes piece, bool last,
                            ws_connection::Fragments& now) {
  if (peer.fragments()) now = *peer.fragments();
  if (now.type != type) return "another type than that of the first piece";
  if (type == WS_TEXT && (!now.utf8.feed(piece) || (last && !now.utf8.complete()))) return kNotUtf8;
  return nullptr;
}

SendResult send_fragment_of(ws_connection& peer, Opcode type, Bytes piece, bool last) {
  if (current_call.on_loop) return peer.connection->send_fragment(type, piece, last);
  std::vector<uint8_t> copy(piece.begin(), piece.end());
  return peer.remote()->any_thread_send(
      piece.size(),
      [copy = std::move(copy), type, last](Connection& to) { to.send_fragment(type, copy, last); },
      true);
}

ws_result send_fragment(ws_connection* connection, ws_type type, const void* data, size_t size,
                        int last) noexcept {
  constexpr const char* kSelf = "send_fragment";
  ws_connection* peer = in_callback_of(connection, CALLER, kSelf);
  if (!peer) return WS_WRONG_THREAD;
  if (const char* wrong = wrong_with(type, data, size, 0))
    return mistake(peer, CALLER, kSelf, wrong, WS_INVALID);
  Bytes piece = bytes_from(data, size);
  ws_connection::Fragments now{type, {}};
  if (const char* wrong = follow_fragment(*peer, type, piece, last, now))
    return mistake(peer, CALLER, kSelf, wrong, WS_INVALID);
  return or_no_memory([&] {
    if (!last) peer->make_rare();  // before anything is sent
    auto fragments = last ? nullptr : std::make_unique<ws_connection::Fragments>(now);
    SendResult sent = send_fragment_of(*peer, Opcode(type), piece, last);
    if (sent != SendResult::closed && (fragments || peer->fragments()))
      peer->make_rare().fragments = std::move(fragments);
    return result_of(sent);
  });
}

ws_result ping(ws_connection* connection, const void* data, size_t size) noexcept {
  ws_connection* peer = in_callback_of(connection, CALLER, "ping");
  if (!peer) return WS_WRONG_THREAD;
  if (!data_is_fine(data, size) || size > kMaxControlPayload)
    return mistake(peer, CALLER, "ping", "more than 125 bytes, or NULL with a size", WS_INVALID);
  Bytes payload = bytes_from(data, size);
  if (current_call.on_loop) return result_of(peer->connection->ping(payload));
  return or_no_memory([&] {
    std::vector<uint8_t> copy(payload.begin(), payload.end());
    return result_of(peer->remote()->any_thread_send(
        size, [copy = std::move(copy)](Connection& to) { to.ping(copy); }));
  });
}

ws_result close(ws_connection* connection, uint16_t code, const char* reason,
                size_t reason_size) noexcept {
  ws_connection* peer = in_callback_of(connection, CALLER, "close");
  if (!peer) return WS_WRONG_THREAD;
  if (const char* wrong = wrong_with_close(code, reason, reason_size))
    return mistake(peer, CALLER, "close", wrong, WS_INVALID);
  std::string_view text(reason_size ? reason : "", reason_size);
  uint16_t sent = code ? code : kCloseNoCode;
  if (!current_call.on_loop)
    return or_no_memory(
        [&] { return peer->remote()->any_thread_close(sent, text) ? WS_OK : WS_CLOSED; });
  if (peer->remote()) peer->remote()->closing();
  return peer->connection->close(sent, text) ? WS_OK : WS_CLOSED;
}

ws_result abort(ws_connection* connection) noexcept {
  ws_connection* peer = in_callback_of(connection, CALLER, "abort");
  if (!peer) return WS_WRONG_THREAD;
  if (!current_call.on_loop)
    return or_no_memory([&] { return peer->remote()->any_thread_abort() ? WS_OK : WS_CLOSED; });
  if (peer->remote()) peer->remote()->closing();
  return now_or_soon(*peer, [](Connection& to) { to.abort(); });
}

size_t buffered_amount(const ws_connection* connection) noexcept {
  ws_connection* peer = in_callback_of(connection, CALLER, "buffered_amount");
  if (!peer) return 0;
  return current_call.on_loop ? peer->connection->buffered_amount()
                              : peer->remote()->buffered_amount();
}

ws_result pause(ws_connection* connection) noexcept {
  ws_connection* peer = in_callback_of(connection, CALLER, "pause");
  if (!peer) return WS_WRONG_THREAD;
  if (peer->on_workers()) peer->on_workers()->strand->pause();
  return now_or_soon(*peer, [](Connection& to) { to.pause(Connection::by_endpoint); });
}

ws_result resume(ws_connection* connection) noexcept {
  ws_connection* peer = in_callback_of(connection, CALLER, "resume");
  if (!peer) return WS_WRONG_THREAD;
  if (peer->on_workers()) peer->on_workers()->strand->resume();
  return now_or_soon(*peer, [](Connection& to) { to.resume(Connection::by_endpoint); });
}

ws_result set_timer(ws_connection* connection, uint32_t id, uint64_t in_ms) noexcept {
  ws_connection* peer = in_callback_of(connection, CALLER, "set_timer");
  if (!peer) return WS_WRONG_THREAD;
  if (id >= WS_TIMERS)
    return mistake(peer, CALLER, "set_timer", "an id above 7, the last", WS_INVALID);
  return timer_now_or_soon(*peer, id, [id, in_ms](Connection& to) { to.set_timer(id, in_ms); });
}

ws_result cancel_timer(ws_connection* connection, uint32_t id) noexcept {
  ws_connection* peer = in_callback_of(connection, CALLER, "cancel_timer");
  if (!peer) return WS_WRONG_THREAD;
  if (id >= WS_TIMERS)
    return mistake(peer, CALLER, "cancel_timer", "an id above 7, the last", WS_INVALID);
  return timer_now_or_soon(*peer, id, [id](Connection& to) { to.cancel_timer(id); });
}

ws_text fact(const ws_connection* connection, ws_fact fact) noexcept {
  ws_connection* peer = in_callback_of(connection, CALLER, "fact");
  return peer ? peer->facts.fact(fact) : ws_text{};
}

ws_text header(const ws_connection* connection, const char* name) noexcept {
  ws_connection* peer = in_callback_of(connection, CALLER, "header");
  return peer ? peer->facts.header(name) : ws_text{};
}

void set_user_data(ws_connection* connection, void* data) noexcept {
  if (ws_connection* peer = in_callback_of(connection, CALLER, "set_user_data"))
    peer->user_data = data;
}

void* user_data(const ws_connection* connection) noexcept {
  ws_connection* peer = in_callback_of(connection, CALLER, "user_data");
  return peer ? peer->user_data : nullptr;
}

ws_handle handle(ws_connection* connection) noexcept {
  ws_connection* peer = in_callback_of(connection, CALLER, "handle");
  if (!peer) return {0};
  try {
    if (!peer->remote()) {
      ws_connection::Rare& rare = peer->make_rare();
      rare.remote = Remote::make(*peer, *peer->connection);
      if (peer->ended) peer->remote()->gone();  // asked for in close: it names what is gone
    }
    return {peer->remote()->id()};
  } catch (const std::bad_alloc&) {
    return {0};
  }
}

}  // namespace

void add_connection_functions(ws_host& host) {
  host.send = send;
  host.send_buffer = send_buffer;
  host.send_fragment = send_fragment;
  host.ping = ping;
  host.close = close;
  host.abort = abort;
  host.buffered_amount = buffered_amount;
  host.pause = pause;
  host.resume = resume;
  host.set_timer = set_timer;
  host.cancel_timer = cancel_timer;
  host.fact = fact;
  host.header = header;
  host.set_user_data = set_user_data;
  host.user_data = user_data;
  host.handle = handle;
}

}  // namespace mws
