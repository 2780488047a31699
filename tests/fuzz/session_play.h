// A client's bytes, cut anywhere, and what the host does in between and from inside of events, with
// the session or the plain one.
//
// The script: in one byte a limit, what of permessage-deflate is agreed on and whether reserved
// close codes are allowed; an event and an act of the host inside of it (event 0: inside of each
// message); how many steps; for each the bytes read before it, and an act; the client's bytes.
#pragma once
#include "tests/fuzz/fuzz.h"
#include "tests/unit/plain_session.h"

namespace mws::fuzz {

template <class S>
class Play final : public Session::Host {
 public:
  std::string trace;  // all that was seen

  Play(Bytes script, size_t longest_read)
      : input_{script}, longest_read_(longest_read), session_(settings(script)) {
    input_.next();
    event_ = input_.next() % 16;
    act_ = input_.next();
    unsigned steps = input_.next() % 16;
    Bytes rest = input_.after(2 * steps);
    for (; steps; steps--) {
      size_t size = std::min<size_t>(input_.next(), rest.size());
      read(rest.first(size));
      rest = rest.subspan(size);
      act(input_.next(), bytes_of("from outside"));
      note_state();
    }
    read(rest);
    note_state();
  }

  void on_message(Opcode type, MutableBytes payload) override {
    note(type == Opcode::text ? "text" : "binary", text_of(payload));
    happened(true, payload);
    std::fill(payload.begin(), payload.end(), uint8_t('#'));  // it is the host's to write to
  }
  void on_ping(Bytes payload) override { control("ping", payload); }
  void on_pong(Bytes payload) override { control("pong", payload); }
  void transmit(Bytes header, Bytes payload) override {
    std::vector<uint8_t> message(payload.begin(), payload.end());
    if (header[0] & 0x40) inflate(message);
    note("transmit " + std::to_string(header[0] & ~0x40), text_of(message));
    happened(false, message);
  }
  DeflateShare& deflate_share() override { return share_; }
  void on_end(uint16_t code, std::string_view reason, bool clean, Rule broken) override {
    note("end " + std::to_string(code) + (clean ? " clean " : " ") + describe(broken).message,
         reason);
    happened(false, bytes_of("late"));
  }

 private:
  static SessionSettings settings(Bytes script) {
    return {.max_message_bytes = limit(script),
            .deflate = deflate(script),
            .allows_reserved_close_codes = bool(Input{script}.next() & 64)};
  }
  static uint64_t limit(Bytes script) {
    constexpr uint64_t limits[] = {1 << 20, 0, 1, 10, 125, 126, 300, 65536};
    return limits[Input{script}.next() % 8];
  }
  static DeflateParameters deflate(Bytes script) {
    uint8_t bits = Input{script}.next();
    if (bits < 128) return {};
    return {.min_size = bits & 8 ? 100u : 0u,
            .level = 1,
            .server_window_bits = 15,
            .client_window_bits = 15,
            .server_takeover = bool(bits & 16),
            .client_takeover = bool(bits & 32)};
  }
  // What was sent compressed is noted as what it says.
  void inflate(std::vector<uint8_t>& message) {
    std::vector<uint8_t> payload;
    payload.swap(message);
    for (uint8_t byte : payload) client_.take(byte, message, UINT32_MAX);
    demand(client_.finish(message, UINT32_MAX) == test::PlainInflater::State::good, "sent well");
  }
  void note(std::string_view what, std::string_view bytes = "") {
    trace.append(what).append(": ").append(bytes).append("\n");
  }
  void read(Bytes bytes) {
    for (size_t size; !bytes.empty(); bytes = bytes.subspan(size)) {
      size = std::min(longest_read_, bytes.size());
      session_.receive(Copy(bytes.first(size)).bytes(), *this);
    }
  }
  void control(const char* what, Bytes payload) {
    note(what, text_of(payload));
    happened(false, payload);
  }
  void happened(bool is_message, Bytes payload) {
    if (++events_ == event_ || (is_message && !event_)) act(act_, payload);
  }
  void act(uint8_t what, Bytes payload) {
    bool done = false;
    what %= 10;
    if (session_.in_fragments() && (what == 1 || what == 2)) what += 7;
    if (what == 1) done = session_.send(Opcode::text, payload, *this);
    if (what == 2) done = session_.send(Opcode::binary, Copy(Bytes(kLong)).bytes(), *this);
    if (what == 3) done = session_.close(4000, "bye", *this);
    if (what == 4) done = session_.close(kCloseNoCode, "", *this);
    if (what == 5) session_.abandon();
    if (what == 8 || what == 9)
      done = session_.send_fragment(Opcode::text, payload, what == 9, *this);
    payload = payload.first(std::min(payload.size(), kMaxControlPayload));
    if (what == 6) done = session_.ping(payload, *this);
    if (what == 7) done = session_.pong(payload, *this);
    note(done ? "done" : "not done");
  }
  void note_state() {
    if (session_.may_send()) note("may send");
    if (session_.in_fragments()) note("in fragments");
    if (session_.ended()) note("ended");
    else if (session_.in_message()) note("in a message");
  }

  static constexpr uint8_t kLong[126] = {};
  Input input_;
  size_t longest_read_;
  DeflateShare share_;
  test::PlainInflater client_;
  S session_;
  unsigned events_ = 0, event_ = 0;
  uint8_t act_ = 0;
};

}  // namespace mws::fuzz
