#include "src/protocol/session.h"

#include <algorithm>
#include <cstring>

#include "src/protocol/buffer.h"
#include "src/protocol/close_code.h"
#include "src/protocol/mask.h"
#include "src/protocol/utf8.h"

namespace mws {

struct Session::Partial {
  uint8_t head[kMaxClientHeader];  // of a header that has not arrived whole
  uint8_t head_size = 0;
  bool in_frame = false;    // header is read, remaining bytes of its payload are not
  bool in_message = false;  // a data frame without FIN has been read
  Opcode message_type{};    // text or binary, while in_message or a data frame is read
  uint8_t control_size = 0;
  FrameHeader header;      // while in_frame; its masking key is turned as bytes are read
  uint64_t remaining = 0;  // bytes of the frame's payload, while in_frame
  Utf8Validator utf8;      // of the message
  Buffer message;          // what has arrived of it
  uint8_t control[kMaxControlPayload];

  void begin_frame(const FrameHeader& of) {
    in_frame = true;
    header = of;
    remaining = of.length;
    control_size = 0;
    if (of.opcode == Opcode::text || of.opcode == Opcode::binary) {
      message_type = of.opcode;
      utf8.reset();
    }
  }
  bool idle() const { return !head_size && !in_frame && !in_message; }
};

void Session::PartialDeleter::operator()(Partial* partial) const { delete partial; }

Session::Partial& Session::partial() {
  if (!partial_) partial_.reset(new Partial);
  return *partial_;
}

void Session::receive(MutableBytes input, Host& host) {
  uint8_t* at = input.data();
  uint8_t* end = at + input.size();
  while (at < end && state_ != State::ended) {
    bool resumes = partial_ && (partial_->in_frame || partial_->head_size);
    at = resumes ? take_rest_of_frame(at, end, host) : take_frame(at, end, host);
  }
  if (partial_ && (ended() || partial_->idle())) partial_.reset();
}

// At a frame's first byte. The fast path is a frame that lies whole in the input.
uint8_t* Session::take_frame(uint8_t* at, uint8_t* end, Host& host) {
  FrameHeader header;
  ParsedHeader parsed = parse_header({at, end}, header);
  if (parsed.broken != Rule::none) {
    fail(parsed.broken, host);
    return end;
  }
  if (!parsed.size) {
    Partial& p = partial();
    p.head_size = uint8_t(end - at);
    memcpy(p.head, at, p.head_size);
    return end;
  }
  at += parsed.size;
  bool whole = header.length <= uint64_t(end - at);
  bool in_message = partial_ && partial_->in_message;
  if (whole && (is_control(header.opcode) || (header.fin && !in_message))) {
    size_t length = size_t(header.length);
    unmask(at, at, length, header.masking_key);
    if (is_control(header.opcode)) handle_control(header.opcode, {at, length}, host);
    else if (header.opcode == Opcode::text && state_ == State::open && !is_utf8({at, length}))
      fail(Rule::text_not_utf8, host);
    else deliver(header.opcode, {at, length}, host);
    return at + length;
  }

  partial().begin_frame(header);
  return take_rest_of_frame(at, end, host);
}

// Inside a header or a payload that began in an earlier input, or that the input cuts off.
uint8_t* Session::take_rest_of_frame(uint8_t* at, uint8_t* end, Host& host) {
  Partial& p = *partial_;
  if (!p.in_frame) {
    // Complete the header in p.head, then go on as if it stood in the input.
    size_t had = p.head_size;
    size_t more = std::min(sizeof p.head - had, size_t(end - at));
    memcpy(p.head + had, at, more);
    FrameHeader header;
    ParsedHeader parsed = parse_header({p.head, had + more}, header);
    if (parsed.broken != Rule::none) {
      fail(parsed.broken, host);
      return end;
    }
    if (!parsed.size) {
      p.head_size = uint8_t(had + more);
      return at + more;
    }
    at += parsed.size - had;
    p.head_size = 0;
    p.begin_frame(header);
  }

  size_t size = size_t(std::min<uint64_t>(p.remaining, uint64_t(end - at)));
  if (is_control(p.header.opcode)) {
    p.header.masking_key = unmask(p.control + p.control_size, at, size, p.header.masking_key);
    p.control_size = uint8_t(p.control_size + size);
  } else if (size && state_ == State::open) {
    // Before the last fragment nobody knows the size; the message's memory then doubles.
    uint64_t expected = p.header.fin ? p.message.size() + p.remaining : max_message_;
    uint8_t* to = p.message.grow(size, expected);
    p.header.masking_key = unmask(to, at, size, p.header.masking_key);
    if (p.message_type == Opcode::text && !p.utf8.feed({to, size})) {
      fail(Rule::text_not_utf8, host);
      return end;
    }
  }
  p.remaining -= size;
  if (!p.remaining) finish_partial_frame(host);
  return at + size;
}

// Reads a header and holds it against all rules, its own and those of the session.
ParsedHeader Session::parse_header(Bytes input, FrameHeader& header) const {
  ParsedHeader parsed = parse_client_header(input, header);
  if (parsed.size && parsed.broken == Rule::none) parsed.broken = check(header);
  return parsed;
}

// Rules that a header alone cannot show. The size of a message is refused here, before a byte of
// memory is reserved for it; the sum cannot overflow, as both are below 2^63.
Rule Session::check(const FrameHeader& header) const {
  if (is_control(header.opcode)) return Rule::none;
  bool in_message = partial_ && partial_->in_message;
  if (header.opcode == Opcode::continuation && !in_message) return Rule::continuation_without_start;
  if (header.opcode != Opcode::continuation && in_message) return Rule::data_frame_inside_message;
  uint64_t before = in_message ? partial_->message.size() : 0;
  if (before + header.length > max_message_) return Rule::message_too_big;
  return Rule::none;
}

void Session::finish_partial_frame(Host& host) {
  Partial& p = *partial_;
  p.in_frame = false;
  if (is_control(p.header.opcode)) {
    handle_control(p.header.opcode, {p.control, p.control_size}, host);
    return;
  }
  p.in_message = !p.header.fin;
  if (p.in_message) return;
  // The message leaves the session before the host sees it, so that the host may end the session.
  Buffer message = std::move(p.message);
  if (p.message_type == Opcode::text && state_ == State::open && !p.utf8.complete()) {
    fail(Rule::text_not_utf8, host);
    return;
  }
  deliver(p.message_type, message.bytes(), host);
}

void Session::deliver(Opcode type, MutableBytes payload, Host& host) {
  if (state_ == State::open) host.on_message(type, payload);
}

void Session::handle_control(Opcode opcode, Bytes payload, Host& host) {
  if (opcode == Opcode::close) handle_close(payload, host);
  // §5.5.2: a pong with the same payload, unless a close frame was sent.
  if (opcode == Opcode::ping && state_ == State::open) transmit_frame(Opcode::pong, payload, host);
}

void Session::handle_close(Bytes payload, Host& host) {
  if (payload.empty()) {
    send_close({}, host);
    return end(kCloseNoCode, "", true, Rule::none, host);
  }
  if (payload.size() == 1) return fail(Rule::close_payload_one_byte, host);
  uint16_t code = uint16_t(payload[0] << 8 | payload[1]);
  if (!may_be_sent(code)) return fail(Rule::close_code_not_allowed, host);
  Bytes reason = payload.subspan(2);
  if (!is_utf8(reason)) return fail(Rule::close_reason_not_utf8, host);
  // §5.5.1: the answer typically echoes the code received; the reason goes with it.
  send_close(payload, host);
  end(code, text_of(reason), true, Rule::none, host);
}

bool Session::send(Opcode type, Bytes payload, Host& host) {
  if (state_ != State::open) return false;
  transmit_frame(type, payload, host);
  return true;
}

bool Session::close(uint16_t code, std::string_view reason, Host& host) {
  uint8_t payload[kMaxControlPayload];
  size_t size = 0;
  if (code != kCloseNoCode) {
    payload[0] = uint8_t(code >> 8);
    payload[1] = uint8_t(code);
    size = 2 + reason.copy(reinterpret_cast<char*>(payload) + 2, kMaxCloseReason);
  }
  return send_close({payload, size}, host);
}

// The state changes first: the host may call back while the frame goes out.
bool Session::send_close(Bytes payload, Host& host) {
  if (state_ != State::open) return false;
  state_ = State::close_sent;
  transmit_frame(Opcode::close, payload, host);
  return true;
}

// §7.1.7: tell the client why, then end.
void Session::fail(Rule rule, Host& host) {
  const RuleText& text = describe(rule);
  if (close(text.close_code, text.message, host))
    end(text.close_code, text.message, false, rule, host);
  else end(kCloseAbnormal, "", false, rule, host);  // a close frame went out before
}

void Session::end(uint16_t code, std::string_view reason, bool clean, Rule broken, Host& host) {
  if (state_ == State::ended) return;
  state_ = State::ended;
  host.on_end(code, reason, clean, broken);
}

void Session::abandon() { state_ = State::ended; }

void Session::transmit_frame(Opcode opcode, Bytes payload, Host& host) {
  uint8_t header[kMaxServerHeader];
  size_t size = write_server_header(header, opcode, true, payload.size());
  host.transmit({header, size}, payload);
}

}  // namespace mws
