// What the tests of the protocol share: a client's bytes, a host that writes down what it is told,
// and the ways of cutting a stream into reads.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "src/protocol/session.h"
#include "tests/unit/deflate_support.h"
#include "tests/unit/plain_session.h"

namespace mws::test {

// ---- A client's bytes ---------------------------------------------------------------------------

constexpr uint8_t kKey[4] = {0x37, 0xfa, 0x21, 0x3d};

enum class LengthForm { shortest, seven_bits, two_bytes, eight_bytes };

// A masked header. First is the frame's first byte, whatever it may be.
inline std::string client_header(unsigned first, uint64_t length,
                                 LengthForm form = LengthForm::shortest) {
  if (form == LengthForm::shortest)
    form = length < 126     ? LengthForm::seven_bits
           : length < 65536 ? LengthForm::two_bytes
                            : LengthForm::eight_bytes;
  int extended = form == LengthForm::seven_bits ? 0 : form == LengthForm::two_bytes ? 2 : 8;
  std::string out(1, char(first));
  out += char(0x80 | (extended == 0 ? length : extended == 2 ? 126 : 127));
  for (int i = extended; i-- > 0;) out += char(length >> 8 * i);
  return out.append(reinterpret_cast<const char*>(kKey), 4);
}

inline std::string client_frame(unsigned first, std::string_view payload,
                                LengthForm form = LengthForm::shortest) {
  std::string out = client_header(first, payload.size(), form);
  for (size_t i = 0; i < payload.size(); i++) out += char(uint8_t(payload[i]) ^ kKey[i % 4]);
  return out;
}

enum Fin { more = 0, last = 0x80 };

inline std::string text(std::string_view payload, Fin fin = last) {
  return client_frame(fin | 1u, payload);
}
inline std::string binary(std::string_view payload, Fin fin = last) {
  return client_frame(fin | 2u, payload);
}
inline std::string continuation(std::string_view payload, Fin fin = last) {
  return client_frame(fin | 0u, payload);
}
inline std::string ping(std::string_view payload) { return client_frame(0x89, payload); }
inline std::string pong(std::string_view payload) { return client_frame(0x8a, payload); }
inline std::string close_with(std::string_view payload) { return client_frame(0x88, payload); }
inline std::string code_and_reason(unsigned code, std::string_view reason = "") {
  std::string out{char(code >> 8), char(code)};
  return out.append(reason);
}
inline std::string close_frame(unsigned code, std::string_view reason = "") {
  return close_with(code_and_reason(code, reason));
}

// "48 65" and "4865" are "He".
inline std::string from_hex(std::string_view digits) {
  std::string out, byte;
  for (char c : digits) {
    if (c != ' ') byte += c;
    if (byte.size() == 2) out += char(std::stoi(byte, nullptr, 16)), byte.clear();
  }
  return out;
}

// ---- Events -------------------------------------------------------------------------------------

using Events = std::vector<std::string>;

// Short texts as they are, with \xNN for what cannot be printed; long ones as size and hash.
inline std::string readable(std::string_view bytes) {
  char piece[64];
  std::string out;
  if (bytes.size() > 130) {
    uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
    for (char c : bytes) hash = (hash ^ uint8_t(c)) * 0x100000001b3;
    snprintf(piece, sizeof piece, "%zu bytes #%016llx", bytes.size(), (unsigned long long)hash);
    return piece;
  }
  for (char c : bytes) {
    snprintf(piece, sizeof piece, c >= ' ' && c <= '~' ? "%c" : "\\x%02x", uint8_t(c));
    out += piece;
  }
  return out;
}

inline std::string joined(std::string first, std::string_view bytes) {
  return bytes.empty() ? first : first + " " + readable(bytes);
}

inline std::string message_event(Opcode type, std::string_view payload) {
  return joined(type == Opcode::text ? "text" : "binary", payload);
}

// Writes each event down as one line: "text hello", "binary \x00", "sent pong abc",
// "sent close 1000 bye", "sent text one ...", "sent ... two" for frames of one message, "end 1000
// bye, clean", "end 1002 reserved opcode, broken". Of what was sent compressed it writes down what
// it inflates to: "sent compressed text hello". A message in
// pieces is written down with its last one.
class Recorder final : public Session::Host {
 public:
  Events events;
  Events heard;      // the client's pings and pongs, apart: "ping abc"
  std::string wire;  // everything transmitted
  Rule broken = Rule::none;
  bool ended = false;
  std::function<void(Opcode, MutableBytes)> then;  // after a message is written down
  std::function<void(MutableBytes, bool first, bool last)>
      on_told;                              // with each piece, first of all
  std::function<void(Opcode)> on_transmit;  // after a transmission is written down
  std::function<void(Bytes)> on_heard;      // after a ping or a pong is written down
  std::function<void()> on_ended;           // after the end is written down
  Session* interrupts = nullptr;            // in each event
  bool streams = false;                     // what comes are pieces

  void on_message(Opcode type, MutableBytes payload) override {
    begin_event();
    EXPECT_FALSE(streams);
    EXPECT_TRUE(type == Opcode::text || type == Opcode::binary);
    events.push_back(message_event(type, text_of(payload)));
    if (then) then(type, payload);
    std::fill(payload.begin(), payload.end(), uint8_t('#'));  // it is the host's to write to
  }

  void on_piece(Opcode type, MutableBytes piece, bool first, bool last) override {
    begin_event();
    EXPECT_TRUE(streams);
    EXPECT_EQ(first, pieces_.empty());
    EXPECT_TRUE(last || !piece.empty());
    if (on_told) on_told(piece, first, last);
    if (first) type_ = type, gathered_.clear(), character_.clear();
    EXPECT_EQ(type, type_);
    pieces_.push_back(piece.size());
    gathered_.insert(gathered_.end(), piece.begin(), piece.end());
    if (type == Opcode::text) judge_text(piece, last);
    std::fill(piece.begin(), piece.end(), uint8_t('#'));
    if (!last) return;
    events.push_back(message_event(type, text_of(gathered_)));
    pieces_.clear();
    std::vector<uint8_t> message;
    message.swap(gathered_);
    if (then) then(type, message);
  }

  void transmit(Bytes header, Bytes payload) override {
    begin_event();
    uint8_t shortest[kMaxServerHeader];
    Opcode opcode = Opcode(header[0] & 15);
    bool fin = header[0] & 0x80, compressed = header[0] & 0x40;
    size_t size = write_server_header(shortest, opcode, fin, payload.size(), compressed);
    EXPECT_TRUE(std::equal(header.begin(), header.end(), shortest, shortest + size));
    wire.append(text_of(header)).append(text_of(payload));
    if (compressed)
      events.push_back("sent compressed " + sent(opcode, inflated(inflater_, text_of(payload))));
    else events.push_back("sent " + sent(opcode, text_of(payload)) + (fin ? "" : " ..."));
    if (on_transmit) on_transmit(opcode);
  }

  void on_ping(Bytes payload) override { hear("ping", payload); }
  void on_pong(Bytes payload) override { hear("pong", payload); }

  void on_end(uint16_t code, std::string_view reason, bool clean, Rule rule) override {
    begin_event();
    EXPECT_EQ(clean, rule == Rule::none);
    events.push_back(joined("end " + std::to_string(code), reason) +
                     (clean ? ", clean" : ", broken"));
    broken = rule;
    ended = true;
    if (on_ended) on_ended();
  }

  DeflateShare& deflate_share() override { return share_; }

 private:
  DeflateShare share_;
  Opcode type_{};                   // of the message in pieces
  std::vector<size_t> pieces_;      // their sizes, while the last has not come
  std::vector<uint8_t> gathered_;   // what they hold
  std::vector<uint8_t> character_;  // of text, while it is incomplete
  PlainInflater inflater_;          // the client's

  // What has been told of a text is the beginning of one, and in the end all of one.
  void judge_text(Bytes piece, bool last) {
    for (uint8_t byte : piece) {
      if (byte < 0x80 && character_.empty()) continue;
      character_.push_back(byte);
      Verdict verdict = decode(character_);
      EXPECT_EQ(verdict.viable, character_.size());
      if (verdict.complete) character_.clear();
    }
    EXPECT_TRUE(!last || character_.empty());
  }

  void begin_event() {
    EXPECT_FALSE(ended);
    if (interrupts) interrupts->interrupt();
  }

  void hear(const char* what, Bytes payload) {
    begin_event();
    heard.push_back(joined(what, text_of(payload)));
    if (on_heard) on_heard(payload);
  }

  static std::string sent(Opcode opcode, std::string_view payload) {
    if (opcode == Opcode::text || opcode == Opcode::binary) return message_event(opcode, payload);
    if (opcode == Opcode::continuation) return joined("...", payload);
    if (opcode == Opcode::ping) return joined("ping", payload);
    if (opcode == Opcode::pong) return joined("pong", payload);
    if (payload.empty()) return "close";
    EXPECT_GE(payload.size(), 2u);
    return joined("close " + std::to_string(uint8_t(payload[0]) << 8 | uint8_t(payload[1])),
                  payload.substr(2));
  }
};

// ---- Cutting a stream into reads ----------------------------------------------------------------

// Each read lies in memory of its own, exactly as long as it is, so that a sanitizer sees a step
// over its end. What the session leaves is read next; returns how often it did.
inline size_t receive(Session& session, Recorder& host, std::string_view read,
                      uint32_t inflate_at_most = UINT32_MAX) {
  auto memory = std::make_unique<uint8_t[]>(read.size());
  std::copy(read.begin(), read.end(), memory.get());
  MutableBytes rest(memory.get(), read.size());
  for (size_t stops = 0;; stops++) {
    MutableBytes left = session.receive(rest, host, inflate_at_most);
    EXPECT_EQ(left.data() + left.size(), memory.get() + read.size());
    EXPECT_TRUE(left.empty() || left.size() < rest.size());
    EXPECT_EQ(text_of(left), read.substr(read.size() - left.size())) << "not as it came";
    if (left.empty() || left.size() >= rest.size()) return stops;
    rest = left;
  }
}

struct Start {
  uint64_t limit = 1 << 20;
  std::function<void(Session&, Recorder&)> begin = {};  // before the first byte
  DeflateParameters deflate = {};
  bool allows_reserved_close_codes = false;
  bool streams = false;
  bool interrupts = false;  // each event does
  uint32_t inflate_at_most = UINT32_MAX;

  SessionSettings settings() const {
    return {.max_message_bytes = limit,
            .deflate = deflate,
            .allows_reserved_close_codes = allows_reserved_close_codes,
            .streams = streams};
  }
};

// permessage-deflate as it is by default.
const DeflateParameters kDeflate = {
    .min_size = 256, .level = 2, .server_window_bits = 15, .client_window_bits = 15};

struct Outcome {
  Events events, heard;
  std::string wire;
  Rule broken = Rule::none;
  bool operator==(const Outcome&) const = default;
};

// Cuts are offsets into the stream, ascending.
inline Outcome play(std::string_view stream, const std::vector<size_t>& cuts,
                    const Start& start = {}) {
  Session session(start.settings());
  Recorder host;
  if (start.interrupts) host.interrupts = &session;
  host.streams = start.streams;
  if (start.begin) start.begin(session, host);
  size_t from = 0, at_most = start.inflate_at_most;
  for (size_t cut : cuts)
    receive(session, host, stream.substr(from, cut - from), at_most), from = cut;
  receive(session, host, stream.substr(from), at_most);
  EXPECT_TRUE(!host.ended || session.ended());
  return {host.events, host.heard, host.wire, host.broken};
}

// What the plain session makes of a stream. With closed it has sent a close frame with 1001 before.
inline Outcome plain_outcome(std::string_view stream, const Start& start, bool closed = false) {
  PlainSession session(start.settings());
  Recorder host;
  if (closed) session.close(1001, "", host);
  session.receive(bytes_of(stream), host);
  return {host.events, host.heard, host.wire, host.broken};
}

// The outcome of a stream in one read, after checking that it is the same byte by byte and cut in
// two at every offset, interrupted in each event, with the messages in pieces, and that of the
// plain session, unless something happens before the first byte. A long stream is cut only near its
// ends and here and there between.
inline Outcome outcome_of(std::string_view stream, const Start& start = {}) {
  Outcome whole = play(stream, {}, start);
  auto expect_same = [&](const Outcome& other, const std::string& how) {
    EXPECT_EQ(whole.events, other.events) << how;
    EXPECT_EQ(whole.heard, other.heard) << how;
    EXPECT_EQ(whole.wire, other.wire) << how;
    EXPECT_EQ(whole.broken, other.broken) << how;
    return whole == other;
  };
  if (!start.begin) expect_same(plain_outcome(stream, start), "the plain session");
  std::vector<size_t> every(stream.empty() ? 0 : stream.size() - 1);
  for (size_t i = 0; i < every.size(); i++) every[i] = i + 1;
  expect_same(play(stream, every, start), "byte by byte");
  Start interrupted = start, streamed = start;
  interrupted.interrupts = true;
  interrupted.inflate_at_most = 1;
  expect_same(play(stream, {}, interrupted), "interrupted");
  streamed.streams = interrupted.streams = true;
  expect_same(play(stream, {}, streamed), "in pieces");
  expect_same(play(stream, every, streamed), "in pieces, byte by byte");
  expect_same(play(stream, {}, interrupted), "in pieces, interrupted");
  for (size_t at : every) {
    bool near_end = at < 100 || stream.size() - at < 100;
    if (stream.size() > 1000 && !near_end && at % (stream.size() / 50)) continue;
    std::string cut = "cut at " + std::to_string(at);
    if (!expect_same(play(stream, {at}, start), cut)) break;
    if (!expect_same(play(stream, {at}, at % 2 ? streamed : interrupted), "in pieces, " + cut))
      break;
  }
  return whole;
}

inline Events events_of(std::string_view stream, const Start& start = {}) {
  return outcome_of(stream, start).events;
}

// How many bytes of the stream it takes, one by one, until the session has ended; npos: it does
// not.
inline size_t bytes_until_end(std::string_view stream, const Start& start = {}) {
  Session session(start.limit);
  Recorder host;
  for (size_t i = 0; i < stream.size(); i++) {
    receive(session, host, stream.substr(i, 1));
    if (session.ended()) return i + 1;
  }
  return stream.npos;
}

}  // namespace mws::test
