// A client's bytes, cut anywhere, and what the host does in between and from inside of events, with
// the session or the plain one.
//
// The script: in one byte a limit, what of permessage-deflate is agreed on and whether reserved
// close codes are allowed; an event and an act of the host inside of it (event 0: inside of each
// message); how many steps; for each the bytes read before it, and an act; the client's bytes.
#pragma once
#include <type_traits>

#include "src/protocol/utf8.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/plain_session.h"

namespace mws::fuzz {

// How the session reads, which must make no difference.
struct Ways {
  size_t longest_read = SIZE_MAX;  // bytes
  bool streams = false;
  bool interrupts = false;  // in each event
  uint32_t inflate_at_most = UINT32_MAX;
};

template <class S>
class Play final : public Session::Host {
 public:
  std::string trace;  // all that was seen

  explicit Play(Bytes script, const Ways& ways = {})
      : input_{script}, ways_(ways), session_(settings(script, ways.streams)) {
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
    interrupt();
    demand(!ways_.streams, "a message comes in pieces");
    take_message(type, payload);
  }
  void on_piece(Opcode type, MutableBytes piece, bool first, bool last) override {
    interrupt();
    demand(ways_.streams && first == !in_pieces_ && (first || type == type_), "a piece fits");
    demand(last || !piece.empty(), "no piece is empty but the last");
    if (first) gathered_.clear(), utf8_.reset();
    in_pieces_ = !last;
    type_ = type;
    gathered_.insert(gathered_.end(), piece.begin(), piece.end());
    demand(type == Opcode::binary || utf8_.feed(piece), "text is valid as far as it was told");
    std::fill(piece.begin(), piece.end(), uint8_t('#'));
    if (last) take_message(type, Copy(Bytes(gathered_)).bytes());
  }
  void take_message(Opcode type, MutableBytes payload) {
    note(type == Opcode::text ? "text" : "binary", text_of(payload));
    happened(true, payload);
    std::fill(payload.begin(), payload.end(), uint8_t('#'));  // it is the host's to write to
  }
  void on_ping(Bytes payload) override { control("ping", payload); }
  void on_pong(Bytes payload) override { control("pong", payload); }
  void transmit(Bytes header, Bytes payload) override {
    interrupt();
    std::vector<uint8_t> message(payload.begin(), payload.end());
    if (header[0] & 0x40) inflate(message);
    note("transmit " + std::to_string(header[0] & ~0x40), text_of(message));
    happened(false, message);
  }
  DeflateShare& deflate_share() override { return share_; }
  void on_end(uint16_t code, std::string_view reason, bool clean, Rule broken) override {
    interrupt();
    note("end " + std::to_string(code) + (clean ? " clean " : " ") + describe(broken).message,
         reason);
    happened(false, bytes_of("late"));
  }

 private:
  static SessionSettings settings(Bytes script, bool streams) {
    return {.max_message_bytes = limit(script),
            .deflate = deflate(script),
            .allows_reserved_close_codes = bool(Input{script}.next() & 64),
            .streams = streams};
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
      size = std::min(ways_.longest_read, bytes.size());
      Copy copy(bytes.first(size));
      receive(copy.bytes());
    }
  }
  void receive(MutableBytes rest) {
    if constexpr (std::is_same_v<S, Session>) {
      while (!rest.empty()) {
        MutableBytes left = session_.receive(rest, *this, ways_.inflate_at_most);
        demand(left.size() < rest.size(), "something is taken");
        demand(left.data() == &rest.back() + 1 - left.size(), "what is left is a suffix");
        rest = left;
      }
    } else {
      session_.receive(rest, *this);
    }
  }
  void interrupt() {
    if constexpr (std::is_same_v<S, Session>)
      if (ways_.interrupts) session_.interrupt();
  }
  void control(const char* what, Bytes payload) {
    interrupt();
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
  const Ways ways_;
  DeflateShare share_;
  test::PlainInflater client_;
  S session_;
  Opcode type_{};
  bool in_pieces_ = false;
  std::vector<uint8_t> gathered_;
  Utf8Validator utf8_;
  unsigned events_ = 0, event_ = 0;
  uint8_t act_ = 0;
};

}  // namespace mws::fuzz
