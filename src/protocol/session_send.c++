// What a session sends, and how it ends.
#include <utility>

#include "src/protocol/close_code.h"
#include "src/protocol/session.h"

namespace mws {

bool Session::send(Opcode type, Bytes payload, Host& host, bool may_compress) {
  if (state_ != State::open) return false;
  if (may_compress && deflate_.compresses(payload.size())) transmit_deflated(type, payload, host);
  else transmit_frame(type, payload, host);
  return true;
}

bool Session::send(const PreparedMessage& message, Host& host) {
  // With takeover it depends on what this client got before.
  if (deflate_.server_takeover)
    return send(message.type(), message.payload(), host, message.may_compress());
  if (state_ != State::open) return false;
  auto frame = message.frame();
  if (deflate_.agreed()) {
    DeflateShare& share = host.deflate_share();
    frame = message.frame(deflate_, share);
    if (frame.payload.data() != message.payload().data())
      share.count(Counters::sent, message.payload().size(), frame.payload.size());
  }
  host.transmit_lasting(frame.header, frame.payload);
  return true;
}

// As in send_close(), the state changes first.
bool Session::send_fragment(Opcode type, Bytes payload, bool last, Host& host) {
  if (state_ != State::open) return false;
  bool first = !std::exchange(in_fragments_, !last);
  transmit_frame(first ? type : Opcode::continuation, payload, host, false, last);
  return true;
}

void Session::transmit_deflated(Opcode type, Bytes payload, Host& host) {
  DeflateShare& share = host.deflate_share();
  Buffer deflated = share.take_buffer();
  bool own = deflate_.server_takeover;
  Deflater& deflater =
      own ? own_deflater() : share.deflater(deflate_.level, deflate_.server_window_bits);
  share.measure(Counters::sent, [&] { deflater.deflate(payload, deflated); });
  // What the client has not seen, later messages must not refer to.
  bool smaller = own || deflated.size() < payload.size();
  if (smaller) share.count(Counters::sent, payload.size(), deflated.size());
  transmit_frame(type, smaller ? deflated.bytes() : payload, host, smaller);
  share.give_back(std::move(deflated));
}

Session::Takeover& Session::takeover() {
  if (!takeover_) takeover_ = std::make_unique<Takeover>();
  return *takeover_;
}

Deflater& Session::own_deflater() {
  auto& own = takeover().deflater;
  if (!own) own = Deflater::make(deflate_.level, deflate_.server_window_bits, true);
  return *own;
}

bool Session::send_control(Opcode opcode, Bytes payload, Host& host) {
  if (state_ != State::open) return false;
  transmit_frame(opcode, payload, host);
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

size_t Session::takeover_bytes() const {
  if (!takeover_) return 0;
  return sizeof *takeover_ + (takeover_->inflater ? takeover_->inflater->memory_bytes() : 0) +
         (takeover_->deflater ? takeover_->deflater->memory_bytes() : 0);
}

void Session::transmit_frame(Opcode opcode, Bytes payload, Host& host, bool compressed, bool fin) {
  uint8_t header[kMaxServerHeader];
  size_t size = write_server_header(header, opcode, fin, payload.size(), compressed);
  host.transmit({header, size}, payload);
}

}  // namespace mws
