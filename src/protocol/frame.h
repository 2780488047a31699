// Frame headers, RFC 6455 §5.2: bytes to fields and back. Pure functions.
#pragma once
#include <cstddef>
#include <cstdint>

#include "src/base/bytes.h"
#include "src/protocol/rule.h"

namespace mws {

enum class Opcode : uint8_t {
  continuation = 0,
  text = 1,
  binary = 2,
  close = 8,
  ping = 9,
  pong = 10,
};

inline bool is_control(Opcode opcode) { return uint8_t(opcode) & 8; }

constexpr size_t kMaxClientHeader = 14;     // 2 + 8 length + 4 masking key
constexpr size_t kMaxServerHeader = 10;     // 2 + 8 length
constexpr size_t kMaxControlPayload = 125;  // §5.5

struct FrameHeader {
  bool fin = false;
  bool compressed = false;  // RSV1: a message begins that is compressed (RFC 7692 §6)
  Opcode opcode = Opcode::continuation;
  uint32_t masking_key = 0;  // in memory order
  uint64_t length = 0;       // of the payload, in bytes
};

struct ParsedHeader {
  size_t size = 0;           // bytes that the header takes; 0: more bytes are needed
  Rule broken = Rule::none;  // set once the field that shows it is there; size means nothing then
};

// Reads a client's header from the front of input. Rules of a single header are checked here; rules
// that need the state of the connection (fragmentation, message size) are the session's. deflate:
// the connection has agreed on permessage-deflate.
ParsedHeader parse_client_header(Bytes input, FrameHeader& header, bool deflate = false);

// Writes an unmasked header (§5.1) to out, which has room for kMaxServerHeader. Returns its size.
size_t write_server_header(uint8_t* out, Opcode opcode, bool fin, uint64_t length,
                           bool compressed = false);

}  // namespace mws
