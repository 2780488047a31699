#include "src/protocol/prepared_message.h"

#include <utility>

namespace mws {

PreparedMessage::Framed::Framed(Opcode type, Bytes bytes, bool compressed)
    : header_size(write_server_header(header, type, true, bytes.size(), compressed)),
      payload(bytes) {}

PreparedMessage::PreparedMessage(Opcode type, Bytes payload, bool may_compress)
    : type_(type),
      may_compress_(may_compress),
      copy_(payload.begin(), payload.end()),
      plain_(type, copy_, false) {}

PreparedMessage::PreparedMessage(Opcode type, Bytes payload, bool may_compress,
                                 std::function<void()> released)
    : type_(type),
      may_compress_(may_compress),
      plain_(type, payload, false),
      released_(std::move(released)) {}

PreparedMessage::~PreparedMessage() {
  if (released_) released_();
}

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
      return each.framed ? &*each.framed : nullptr;
  Buffer buffer = share.take_buffer();
  Deflater& deflater = share.deflater(deflate.level, deflate.server_window_bits);
  share.measure(Counters::sent, [&] { deflater.deflate(plain_.payload, buffer); });
  Deflated made{deflate.level, deflate.server_window_bits, {}, {}};
  MutableBytes payload = buffer.bytes();
  bool smaller = payload.size() < plain_.payload.size();
  if (smaller) made.payload.assign(payload.begin(), payload.end());
  share.give_back(std::move(buffer));
  Deflated& kept = deflated_.emplace_back(std::move(made));
  if (smaller) kept.framed.emplace(type_, kept.payload, true);
  return smaller ? &*kept.framed : nullptr;
}

}  // namespace mws
