// What a session reads: frames, messages and the client's control frames.
#include "src/protocol/session.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "src/protocol/buffer.h"
#include "src/protocol/close_code.h"
#include "src/protocol/mask.h"
#include "src/protocol/utf8.h"

namespace mws {

namespace {
Rule rule_of(Inflater::Result result) {
  if (result == Inflater::Result::too_big) return Rule::message_too_big;
  return result == Inflater::Result::corrupt ? Rule::deflate_corrupt : Rule::none;
}

// What is wrong with a message that goes on, or ends, with these bytes and this result of inflating
// them. Text that came before what is wrong with the rest may be wrong itself.
Rule judge(Opcode type, Utf8Validator& utf8, Bytes bytes, bool last,
           Inflater::Result result = Inflater::Result::good) {
  bool is_text = type == Opcode::text;
  if (is_text && !utf8.feed(bytes)) return Rule::text_not_utf8;
  if (result != Inflater::Result::good) return rule_of(result);
  return is_text && last && !utf8.complete() ? Rule::text_not_utf8 : Rule::none;
}

// How a compressed message is streamed. A step inflates to no more than 1032 times its size.
constexpr size_t kStep = 256;             // bytes that are inflated at once
constexpr size_t kFullPiece = 64 * 1024;  // bytes from which on a piece is told
}  // namespace

struct Session::Partial {
  uint8_t head[kMaxClientHeader];  // of a header that has not arrived whole
  uint8_t head_size = 0;
  bool in_frame = false;    // header is read, remaining bytes of its payload are not
  bool in_message = false;  // a data frame without FIN has been read
  Opcode message_type{};    // text or binary, while in_message or a data frame is read
  uint8_t control_size = 0;
  FrameHeader header;      // while in_frame; its masking key is turned as bytes are read
  uint64_t remaining = 0;  // bytes of the frame's payload, while in_frame
  // Of the message:
  Utf8Validator utf8;
  Buffer message;        // what has arrived of it, inflated; unless it is streamed
  uint64_t told = 0;     // bytes, in pieces
  bool began = false;    // its first piece was told
  uint64_t arrived = 0;  // bytes of payload in its frames before this one
  uint32_t fragments = 0;
  bool compressed = false;
  std::unique_ptr<Inflater> inflater;  // while it is compressed and refers to no other
  uint8_t control[kMaxControlPayload];

  void begin_frame(const FrameHeader& of) {
    in_frame = true;
    header = of;
    remaining = of.length;
    control_size = 0;
    if (of.opcode == Opcode::text || of.opcode == Opcode::binary) {
      message_type = of.opcode;
      compressed = of.compressed;
      arrived = told = fragments = 0;
      began = false;
      utf8.reset();
    }
    if (!is_control(of.opcode)) fragments++;
  }
  void unmask_in_place(MutableBytes part) {
    header.masking_key = unmask(part.data(), part.data(), part.size(), header.masking_key);
  }
  bool idle() const { return !head_size && !in_frame && !in_message; }
};

void Session::PartialDeleter::operator()(Partial* partial) const { delete partial; }

Session::Partial& Session::partial() {
  if (!partial_) partial_.reset(new Partial);
  return *partial_;
}

MutableBytes Session::receive(MutableBytes input, Host& host, uint32_t inflate_at_most) {
  inflate_left_ = inflate_at_most;
  uint8_t* at = input.data();
  uint8_t* end = at + input.size();
  while (at < end && state_ != State::ended && inflate_left_) {
    bool resumes = partial_ && (partial_->in_frame || partial_->head_size);
    at = resumes ? take_rest_of_frame(at, end, host) : take_frame(at, end, host);
  }
  if (partial_ && (ended() || partial_->idle())) partial_.reset();
  return {ended() ? end : at, end};
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
  if (whole && (is_control(header.opcode) || (header.fin && !in_message)) &&
      !(header.compressed && streams_)) {
    size_t length = size_t(header.length);
    unmask(at, at, length, header.masking_key);
    take_whole(header, {at, length}, host);
    return at + length;
  }

  partial().begin_frame(header);
  return take_rest_of_frame(at, end, host);
}

void Session::take_whole(const FrameHeader& header, MutableBytes payload, Host& host) {
  if (is_control(header.opcode)) return handle_control(header.opcode, payload, host);
  if (state_ != State::open) return;
  if (header.compressed) return take_whole_compressed(header.opcode, payload, host);
  if (header.opcode == Opcode::text && !is_utf8(payload)) return fail(Rule::text_not_utf8, host);
  if (streams_) host.on_piece(header.opcode, payload, true, true);
  else host.on_message(header.opcode, payload);
}

void Session::take_whole_compressed(Opcode type, Bytes payload, Host& host) {
  DeflateShare& share = host.deflate_share();
  Inflater& inflater = deflate_.client_takeover ? own_inflater() : share.inflater();
  Buffer message = share.take_buffer();
  auto result = inflate(inflater, payload, true, message, max_message_, share);
  Utf8Validator utf8;
  Rule broken = judge(type, utf8, message.bytes(), true, result);
  if (broken != Rule::none) fail(broken, host);
  else host.on_message(type, message.bytes());
  share.give_back(std::move(message));
}

// Inside a header or a payload that began in an earlier input, or that the input cuts off.
uint8_t* Session::take_rest_of_frame(uint8_t* at, uint8_t* end, Host& host) {
  Partial& p = *partial_;
  if (!p.in_frame) at = take_rest_of_header(at, end, host);
  if (!p.in_frame) return at;
  size_t size = size_t(std::min<uint64_t>(p.remaining, uint64_t(end - at)));
  size = take_payload({at, size}, host);
  if (!p.remaining && !ended()) finish_partial_frame(host);
  return at + size;
}

// Completes the header in p.head, then goes on as if it stood in the input.
uint8_t* Session::take_rest_of_header(uint8_t* at, uint8_t* end, Host& host) {
  Partial& p = *partial_;
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
  p.head_size = 0;
  p.begin_frame(header);
  return at + (parsed.size - had);
}

// A part of a frame's payload, still masked. Returns how many bytes of it were taken.
size_t Session::take_payload(MutableBytes part, Host& host) {
  Partial& p = *partial_;
  size_t size = part.size();
  bool ends_frame = p.remaining == size, last = ends_frame && p.header.fin;
  bool is_dropped = state_ != State::open || (!size && !ends_frame);
  Rule broken = Rule::none;
  if (is_control(p.header.opcode)) {
    p.header.masking_key =
        unmask(p.control + p.control_size, part.data(), size, p.header.masking_key);
    p.control_size = uint8_t(p.control_size + size);
  } else if (!is_dropped) {
    if (streams_ && p.compressed) return stream_inflated(part, host);
    broken = streams_ ? stream(part, last, host) : gather(part, last, host);
  }
  p.remaining -= size;
  if (broken != Rule::none) fail(broken, host);
  return size;
}

// Memory behind what has been gathered of the message, at least of that size.
MutableBytes Session::spare(uint64_t size, Host& host) {
  Partial& p = *partial_;
  size_t had = p.message.size();
  if (!p.message.capacity() && p.header.length >= SpareBuffers::kLong)
    p.message = host.spare_buffer();
  // Before the last fragment nobody knows the size; the message's memory then doubles.
  return p.message.spare(size_t(size), p.header.fin ? had + p.remaining : max_message_);
}

// Only where more is to come than is worth a call of its own, and no more than twice of what has
// come, so that memory grows with that.
MutableBytes Session::room(Host& host) {
  constexpr size_t kWorthIt = 32 * 1024;  // bytes
  if (!partial_ || state_ != State::open || streams_) return {};
  Partial& p = *partial_;
  if (!p.in_frame || is_control(p.header.opcode) || p.compressed || p.remaining < kWorthIt)
    return {};
  MutableBytes room = spare(std::min<uint64_t>(p.remaining, p.message.size() + kWorthIt), host);
  return room.first(size_t(std::min<uint64_t>(room.size(), p.remaining)));
}

// Adds to the message. Last: all of it is there.
Rule Session::gather(MutableBytes part, bool last, Host& host) {
  Partial& p = *partial_;
  size_t had = p.message.size();
  auto result = Inflater::Result::good;
  if (p.compressed) {
    p.unmask_in_place(part);
    result = inflate(inflater_of_partial(host), part, last, p.message, max_message_,
                     host.deflate_share());
  } else {
    uint8_t* to =
        spare(part.size(), host).data();  // where the part is already, if it was in room()
    p.message.add_written(part.size());
    p.header.masking_key = unmask(to, part.data(), part.size(), p.header.masking_key);
  }
  return judge(p.message_type, p.utf8, p.message.bytes().subspan(had), last, result);
}

Rule Session::stream(MutableBytes part, bool last, Host& host) {
  Partial& p = *partial_;
  p.unmask_in_place(part);
  Rule broken = judge(p.message_type, p.utf8, part, last);
  if (broken == Rule::none) tell_piece(part, last, host);
  return broken;
}

// In small steps, so that no message takes much memory, and receive() can stop inside of a frame.
size_t Session::stream_inflated(MutableBytes part, Host& host) {
  Partial& p = *partial_;
  DeflateShare& share = host.deflate_share();
  Buffer piece = share.take_buffer();
  Rule broken = Rule::none;
  size_t taken = 0;
  bool goes_on = true;
  while (goes_on) {
    MutableBytes step = part.subspan(taken, std::min(kStep, part.size() - taken));
    taken += step.size();
    p.remaining -= step.size();
    p.unmask_in_place(step);
    bool last = p.header.fin && !p.remaining;
    size_t had = piece.size();
    auto result =
        inflate(inflater_of_partial(host), step, last, piece, max_message_ - p.told, share);
    broken = judge(p.message_type, p.utf8, piece.bytes().subspan(had), last, result);
    goes_on = broken == Rule::none && taken < part.size() && inflate_left_;
    if (broken != Rule::none || (goes_on && piece.size() < kFullPiece)) continue;
    tell_piece(piece.bytes(), last, host);
    piece.drop_last(piece.size());
    goes_on = goes_on && inflate_left_ && state_ == State::open;
  }
  if (broken != Rule::none) fail(broken, host);
  share.give_back(std::move(piece));
  return taken;
}

void Session::tell_piece(MutableBytes piece, bool last, Host& host) {
  Partial& p = *partial_;
  if (piece.empty() && !last) return;
  bool first = !std::exchange(p.began, true);
  p.told += piece.size();
  host.on_piece(p.message_type, piece, first, last);
}

// Of a message whose earlier parts went through the same inflater.
Inflater::Result Session::inflate(Inflater& inflater, Bytes part, bool last, Buffer& out,
                                  uint64_t limit, DeflateShare& share) {
  size_t had = out.size();
  auto result = Inflater::Result::good;
  share.measure(Counters::received, [&] {
    result = inflater.inflate(part, out, limit);
    if (last && result == Inflater::Result::good) result = inflater.finish(out, limit);
  });
  share.count(Counters::received, out.size() - had, part.size());
  if (inflate_left_ != UINT32_MAX)
    inflate_left_ -= uint32_t(std::min<uint64_t>(inflate_left_, out.size() - had));
  return result;
}

Inflater& Session::inflater_of_partial(Host& host) {
  if (deflate_.client_takeover) return own_inflater();
  auto& inflater = partial_->inflater;
  if (!inflater) inflater = host.deflate_share().take_inflater();
  return *inflater;
}

// Reads a header and holds it against all rules, its own and those of the session.
ParsedHeader Session::parse_header(Bytes input, FrameHeader& header) const {
  ParsedHeader parsed = parse_client_header(input, header, deflate_.agreed());
  if (parsed.size && parsed.broken == Rule::none) parsed.broken = check(header);
  return parsed;
}

// Rules that a header alone cannot show. The size of a message is refused here, before a byte of
// memory is reserved for it; that of a compressed one again while it is inflated.
Rule Session::check(const FrameHeader& header) const {
  if (is_control(header.opcode)) return Rule::none;
  bool in_message = partial_ && partial_->in_message;
  if (header.opcode == Opcode::continuation && !in_message) return Rule::continuation_without_start;
  if (header.opcode != Opcode::continuation && in_message) return Rule::data_frame_inside_message;
  bool compressed = in_message ? partial_->compressed : header.compressed;
  uint64_t arrived = in_message ? partial_->arrived : 0;
  if (header.length > (compressed ? max_compressed() : max_message_) - arrived)
    return Rule::message_too_big;
  if (in_message && !streams_ && partial_->fragments == max_fragments_)
    return Rule::too_many_fragments;
  return Rule::none;
}

// What the largest message allowed can take when it is compressed without getting smaller, and more
// than that; without it, blocks that hold nothing could go on for ever.
uint64_t Session::max_compressed() const { return max_message_ + max_message_ / 8 + 64; }

void Session::finish_partial_frame(Host& host) {
  Partial& p = *partial_;
  p.in_frame = false;
  if (is_control(p.header.opcode)) {
    handle_control(p.header.opcode, {p.control, p.control_size}, host);
    return;
  }
  p.arrived += p.header.length;
  p.in_message = !p.header.fin;
  if (p.in_message) return;
  if (p.inflater) host.deflate_share().give_back(std::move(p.inflater));
  if (streams_) return;
  // The message leaves the session before the host sees it, so that the host may end the session.
  Buffer message = std::move(p.message);
  if (state_ == State::open) host.on_gathered(p.message_type, message);
}

void Session::handle_control(Opcode opcode, Bytes payload, Host& host) {
  if (opcode == Opcode::close) return handle_close(payload, host);
  // §5.5.2: a pong with the same payload, unless a close frame was sent.
  if (opcode == Opcode::ping) pong(payload, host);
  if (state_ != State::open) return;  // the host may have closed while the pong went out
  if (opcode == Opcode::ping) host.on_ping(payload);
  else host.on_pong(payload);
}

void Session::handle_close(Bytes payload, Host& host) {
  if (payload.empty()) {
    send_close({}, host);
    return end(kCloseNoCode, "", true, Rule::none, host);
  }
  if (payload.size() == 1) return fail(Rule::close_payload_one_byte, host);
  uint16_t code = uint16_t(payload[0] << 8 | payload[1]);
  if (!may_arrive(code, allows_reserved_close_codes_))
    return fail(Rule::close_code_not_allowed, host);
  Bytes reason = payload.subspan(2);
  if (!is_utf8(reason)) return fail(Rule::close_reason_not_utf8, host);
  // §5.5.1: the answer typically echoes the code received; the reason goes with it.
  send_close(payload, host);
  end(code, text_of(reason), true, Rule::none, host);
}

Inflater& Session::own_inflater() {
  auto& own = takeover().inflater;
  if (!own) own = std::make_unique<Inflater>(deflate_.client_window_bits);
  return *own;
}

}  // namespace mws
