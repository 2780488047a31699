#include "src/protocol/frame.h"

#include <cstring>

namespace mws {

namespace {

constexpr uint8_t kFin = 0x80, kReserved = 0x70, kCompressed = 0x40, kOpcode = 0x0f;
constexpr uint8_t kMask = 0x80, kLength = 0x7f;

Rule check_first_bytes(uint8_t first, uint8_t second, bool deflate) {
  uint8_t opcode = first & kOpcode, length = second & kLength;
  if (first & kReserved & ~(deflate ? kCompressed : 0)) return Rule::reserved_bit_set;
  if (opcode > 10 || (opcode > 2 && opcode < 8)) return Rule::opcode_reserved;
  if ((first & kCompressed) && opcode != 1 && opcode != 2) return Rule::compressed_bit_misplaced;
  if (!(second & kMask)) return Rule::frame_not_masked;
  if (opcode & 8) {
    if (length > kMaxControlPayload) return Rule::control_frame_too_long;
    if (!(first & kFin)) return Rule::control_frame_fragmented;
  }
  return Rule::none;
}

uint64_t big_endian(const uint8_t* from, size_t size) {
  uint64_t value = 0;
  for (size_t i = 0; i < size; i++) value = value << 8 | from[i];
  return value;
}

void put_big_endian(uint8_t* to, size_t size, uint64_t value) {
  for (size_t i = 0; i < size; i++) to[i] = uint8_t(value >> 8 * (size - 1 - i));
}

}  // namespace

ParsedHeader parse_client_header(Bytes input, FrameHeader& header, bool deflate) {
  if (input.size() < 2) return {};
  Rule broken = check_first_bytes(input[0], input[1], deflate);
  if (broken != Rule::none) return {0, broken};

  size_t extended = (input[1] & kLength) < 126 ? 0 : (input[1] & kLength) == 126 ? 2 : 8;
  uint64_t length = input[1] & kLength;
  if (extended) {
    if (input.size() < 2 + extended) return {};
    length = big_endian(&input[2], extended);
    if (length >> 63) return {0, Rule::length_top_bit_set};
    if (length < (extended == 2 ? 126u : 65536u)) return {0, Rule::length_not_minimal};
  }
  size_t size = 2 + extended + 4;
  if (input.size() < size) return {};
  header.fin = input[0] & kFin;
  header.compressed = input[0] & kCompressed;
  header.opcode = Opcode(input[0] & kOpcode);
  header.length = length;
  memcpy(&header.masking_key, &input[2 + extended], 4);
  return {size, Rule::none};
}

size_t write_server_header(uint8_t* out, Opcode opcode, bool fin, uint64_t length,
                           bool compressed) {
  out[0] = uint8_t((fin ? kFin : 0) | (compressed ? kCompressed : 0) | uint8_t(opcode));
  if (length < 126) {
    out[1] = uint8_t(length);
    return 2;
  }
  size_t extended = length < 65536 ? 2 : 8;
  out[1] = extended == 2 ? 126 : 127;
  put_big_endian(out + 2, extended, length);
  return 2 + extended;
}

}  // namespace mws
