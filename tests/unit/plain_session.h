// The session once more, plainly: it takes one byte at a time, keeps every byte of a frame and
// looks at each rule where it first shows. Unit tests and fuzz targets compare the real one with
// it. Both share the names of opcodes and rules, the rules' texts and the list of close codes, and
// no more. It reads compressed messages and sends none.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "src/protocol/close_code.h"
#include "src/protocol/session.h"
#include "tests/unit/plain_inflater.h"
#include "tests/unit/plain_utf8.h"

namespace mws::test {

class PlainSession {
 public:
  explicit PlainSession(const SessionSettings& settings)
      : max_message_(settings.max_message_bytes),
        deflate_(settings.deflate),
        allows_reserved_close_codes_(settings.allows_reserved_close_codes) {}

  void receive(Bytes input, Session::Host& host) {
    for (uint8_t byte : input)
      if (!ended_) take(byte, host);
  }

  bool send(Opcode type, Bytes payload, Session::Host& host) {
    if (!may_send()) return false;
    transmit(type, payload, host);
    return true;
  }

  bool send_fragment(Opcode type, Bytes payload, bool last, Session::Host& host) {
    if (!may_send()) return false;
    bool begins = !in_fragments_;
    in_fragments_ = !last;
    transmit(begins ? type : Opcode::continuation, payload, host, last);
    return true;
  }

  bool ping(Bytes payload, Session::Host& host) { return send(Opcode::ping, payload, host); }
  bool pong(Bytes payload, Session::Host& host) { return send(Opcode::pong, payload, host); }

  bool close(uint16_t code, std::string_view reason, Session::Host& host) {
    std::vector<uint8_t> payload;
    if (code != kCloseNoCode) {
      payload = {uint8_t(code / 256), uint8_t(code % 256)};
      payload.insert(payload.end(), reason.begin(), reason.end());
    }
    return send_close(payload, host);
  }

  void abandon() { ended_ = true; }
  bool in_fragments() const { return in_fragments_; }
  bool may_send() const { return !ended_ && !close_sent_; }
  bool ended() const { return ended_; }
  bool in_message() const { return !frame_.empty() || in_message_; }

 private:
  void take(uint8_t byte, Session::Host& host) {
    frame_.push_back(byte);
    size_t size = frame_.size();
    if (size < 2) return;
    Opcode opcode = Opcode(frame_[0] % 16);
    unsigned short_length = frame_[1] % 128;
    if (size == 2)
      if (Rule rule = broken_by_first_bytes(); rule != Rule::none) return fail(rule, host);

    size_t extended = short_length == 126 ? 2 : short_length == 127 ? 8 : 0;
    if (size < 2 + extended) return;
    uint64_t length = extended ? 0 : short_length;
    for (size_t i = 0; i < extended; i++) length = length * 256 + frame_[2 + i];
    if (extended && size == 2 + extended) {
      if (length > INT64_MAX) return fail(Rule::length_top_bit_set, host);
      if (length < 126 || (extended == 8 && length < 65536))
        return fail(Rule::length_not_minimal, host);
    }

    size_t header = 2 + extended + 4;
    if (size < header) return;
    bool control = uint8_t(opcode) >= 8;
    if (size == header && !control)
      if (Rule rule = begin_frame(opcode, length); rule != Rule::none) return fail(rule, host);
    if (size > header) {
      uint8_t unmasked = byte ^ frame_[header - 4 + (size - header - 1) % 4];
      if (control) control_.push_back(unmasked);
      else if (Rule rule = take_of_message(unmasked); rule != Rule::none) return fail(rule, host);
    }
    if (size == header + length) finish(opcode, frame_[0] >= 0x80, host);
  }

  Rule broken_by_first_bytes() const {
    unsigned opcode = frame_[0] % 16;
    bool compressed = frame_[0] & 0x40;
    if (frame_[0] & 0x30 || (compressed && !deflate_.agreed())) return Rule::reserved_bit_set;
    if ((opcode >= 3 && opcode <= 7) || opcode >= 11) return Rule::opcode_reserved;
    if (compressed && opcode != 1 && opcode != 2) return Rule::compressed_bit_misplaced;
    if (frame_[1] < 0x80) return Rule::frame_not_masked;
    if (opcode >= 8 && frame_[1] % 128 > 125) return Rule::control_frame_too_long;
    if (opcode >= 8 && frame_[0] < 0x80) return Rule::control_frame_fragmented;
    return Rule::none;
  }

  Rule begin_frame(Opcode opcode, uint64_t length) {
    bool first = opcode != Opcode::continuation;
    if (!first && !in_message_) return Rule::continuation_without_start;
    if (first && in_message_) return Rule::data_frame_inside_message;
    if (first) begin_message(opcode);
    arrived_ += length;
    if (arrived_ > max_message_ + (compressed_ ? max_message_ / 8 + 64 : 0))
      return Rule::message_too_big;
    return ++fragments_ > kMaxFragments ? Rule::too_many_fragments : Rule::none;
  }

  void begin_message(Opcode opcode) {
    type_ = opcode;
    compressed_ = frame_[0] & 0x40;
    arrived_ = fragments_ = 0;
    message_.clear();
    character_.clear();
    in_message_ = true;
    if (compressed_) inflater_.begin(deflate_.client_takeover);
  }

  // What comes after a close frame went out is dropped.
  Rule take_of_message(uint8_t byte) {
    if (!may_send()) return Rule::none;
    size_t had = message_.size();
    auto state = PlainInflater::State::good;
    if (compressed_) state = inflater_.take(byte, message_, max_message_);
    else message_.push_back(byte);
    return judge_text_since(had, state);
  }

  Rule judge_text_since(size_t had, PlainInflater::State state) {
    for (size_t i = had; type_ == Opcode::text && i < message_.size(); i++) {
      character_.push_back(message_[i]);
      Verdict verdict = decode(character_);
      if (verdict.viable < character_.size()) return Rule::text_not_utf8;
      if (verdict.complete) character_.clear();
    }
    if (state == PlainInflater::State::too_big) return Rule::message_too_big;
    return state == PlainInflater::State::corrupt ? Rule::deflate_corrupt : Rule::none;
  }

  Rule finish_message() {
    if (!may_send()) return Rule::none;
    size_t had = message_.size();
    auto state = PlainInflater::State::good;
    if (compressed_) state = inflater_.finish(message_, max_message_);
    if (Rule rule = judge_text_since(had, state); rule != Rule::none) return rule;
    return character_.empty() ? Rule::none : Rule::text_not_utf8;
  }

  void finish(Opcode opcode, bool fin, Session::Host& host) {
    std::vector<uint8_t> payload;
    frame_.clear();
    control_.swap(payload);
    if (opcode == Opcode::close) return take_close(payload, host);
    if (opcode == Opcode::ping) {
      pong(payload, host);
      if (may_send()) host.on_ping(payload);
    }
    if (opcode == Opcode::pong && may_send()) host.on_pong(payload);
    if (opcode == Opcode::ping || opcode == Opcode::pong || !fin) return;
    in_message_ = false;
    if (Rule rule = finish_message(); rule != Rule::none) return fail(rule, host);
    message_.swap(payload);
    if (may_send()) host.on_message(type_, payload);
  }

  void take_close(Bytes payload, Session::Host& host) {
    if (payload.size() == 1) return fail(Rule::close_payload_one_byte, host);
    uint16_t code = payload.empty() ? kCloseNoCode : uint16_t(payload[0] * 256 + payload[1]);
    Bytes reason = payload.subspan(payload.empty() ? 0 : 2);
    if (!payload.empty() && !may_close_with(code)) return fail(Rule::close_code_not_allowed, host);
    if (!decode(reason).complete) return fail(Rule::close_reason_not_utf8, host);
    send_close(payload, host);
    end(code, text_of(reason), Rule::none, host);
  }

  bool may_close_with(unsigned code) const {
    if (may_be_sent(uint16_t(code))) return true;
    return allows_reserved_close_codes_ && code / 1000 >= 1 && code / 1000 <= 2 && code != 1005 &&
           code != 1006 && code != 1015;
  }

  void fail(Rule rule, Session::Host& host) {
    const RuleText& text = describe(rule);
    if (close(text.close_code, text.message, host)) end(text.close_code, text.message, rule, host);
    else end(kCloseAbnormal, "", rule, host);
  }

  bool send_close(Bytes payload, Session::Host& host) {
    if (!may_send()) return false;
    close_sent_ = true;
    transmit(Opcode::close, payload, host);
    return true;
  }

  void end(uint16_t code, std::string_view reason, Rule rule, Session::Host& host) {
    if (ended_) return;
    ended_ = true;
    host.on_end(code, reason, rule == Rule::none, rule);
  }

  static void transmit(Opcode opcode, Bytes payload, Session::Host& host, bool fin = true) {
    std::vector<uint8_t> header = {uint8_t((fin ? 0x80 : 0) + uint8_t(opcode))};
    size_t size = payload.size(), extended = size < 126 ? 0 : size < 65536 ? 2 : 8;
    header.push_back(uint8_t(extended == 0 ? size : extended == 2 ? 126 : 127));
    for (size_t i = extended; i-- > 0;) header.push_back(uint8_t(size >> 8 * i));
    host.transmit(header, payload);
  }

  uint64_t max_message_;
  DeflateParameters deflate_;
  bool allows_reserved_close_codes_;
  bool close_sent_ = false, ended_ = false;
  bool in_fragments_ = false;     // of a message that is sent
  std::vector<uint8_t> frame_;    // as it came, from its first byte
  std::vector<uint8_t> control_;  // the unmasked payload of a control frame
  bool in_message_ = false;
  Opcode type_{};
  bool compressed_ = false;
  uint64_t arrived_ = 0, fragments_ = 0;  // of the message: bytes of payload, and frames
  PlainInflater inflater_;
  std::vector<uint8_t> message_;    // unmasked, inflated
  std::vector<uint8_t> character_;  // of text, while it is incomplete
};

}  // namespace mws::test
