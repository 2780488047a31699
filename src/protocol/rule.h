// The rules of RFC 6455 and RFC 7692 that a client's frames can break: one entry a rule, with the
// close code that answers it and the section that states it.
#pragma once
#include <cstdint>

namespace mws {

enum class Rule : uint8_t {
  none,
  frame_not_masked,
  reserved_bit_set,
  opcode_reserved,
  length_not_minimal,
  length_top_bit_set,
  control_frame_too_long,
  control_frame_fragmented,
  continuation_without_start,
  data_frame_inside_message,
  message_too_big,
  too_many_fragments,
  text_not_utf8,
  close_payload_one_byte,
  close_code_not_allowed,
  close_reason_not_utf8,
  compressed_bit_misplaced,
  deflate_corrupt,
};

struct RuleText {
  Rule rule;
  uint16_t close_code;  // §7.4.1
  int rfc;
  const char* section;
  const char* message;  // sent as the close reason
};

// Never fails; Rule::none has close code 0.
const RuleText& describe(Rule rule);

}  // namespace mws
