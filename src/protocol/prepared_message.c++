#include "src/protocol/prepared_message.h"

namespace mws {

PreparedMessage::Framed::Framed(Opcode type, Bytes bytes, bool compressed)
    : header_size(write_server_header(header, type, true, bytes.size(), compressed)),
      payload(bytes.begin(), bytes.end()) {}

PreparedMessage::PreparedMessage(Opcode type, Bytes payload, bool may_compress)
    : type_(type), may_compress_(may_compress), plain_(type, payload, false) {}

PreparedMessage::Frame PreparedMessage::frame(const DeflateParameters& deflate,
                                              DeflateShare& share) const {
  if (may_compress_ && deflate.compresses(plain_.payload.size()))
    if (const Framed* smaller = deflated(deflate, share)) return smaller->frame();
  return plain_.frame();
}

const PreparedMessage::Framed* PreparedMessage::deflated(const DeflateParameters& deflate,
                                                         DeflateShare& share) const {
  std::lock_guard lock(lock_);
  for (const Deflated& each : deflated_)
    if (each.level == deflate.level && each.window_bits == deflate.server_window_bits)
      return each.framed.get();
  Buffer buffer = share.take_buffer();
  share.deflater(deflate.level, deflate.server_window_bits).deflate(plain_.payload, buffer);
  std::unique_ptr<const Framed> framed;
  if (buffer.size() < plain_.payload.size())
    framed = std::make_unique<Framed>(type_, buffer.bytes(), true);
  share.give_back(std::move(buffer));
  deflated_.push_back({deflate.level, deflate.server_window_bits, std::move(framed)});
  return deflated_.back().framed.get();
}

}  // namespace mws
