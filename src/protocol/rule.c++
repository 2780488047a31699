#include "src/protocol/rule.h"

#include <cstddef>

namespace mws {

namespace {
constexpr RuleText kRules[] = {
    {Rule::none, 0, 0, "", ""},
    {Rule::frame_not_masked, 1002, 6455, "5.1", "frame from a client is not masked"},
    {Rule::reserved_bit_set, 1002, 6455, "5.2", "reserved bit set without an extension"},
    {Rule::opcode_reserved, 1002, 6455, "5.2", "reserved opcode"},
    {Rule::length_not_minimal, 1002, 6455, "5.2", "payload length not in its shortest form"},
    {Rule::length_top_bit_set, 1002, 6455, "5.2", "64-bit payload length with its top bit set"},
    {Rule::control_frame_too_long, 1002, 6455, "5.5", "control frame longer than 125 bytes"},
    {Rule::control_frame_fragmented, 1002, 6455, "5.5", "fragmented control frame"},
    {Rule::continuation_without_start, 1002, 6455, "5.4", "continuation frame without a message"},
    {Rule::data_frame_inside_message, 1002, 6455, "5.4", "new message inside a fragmented one"},
    {Rule::message_too_big, 1009, 6455, "7.4.1", "message too big"},
    {Rule::too_many_fragments, 1008, 6455, "10.4", "too many fragments in a message"},
    {Rule::text_not_utf8, 1007, 6455, "8.1", "text message is not UTF-8"},
    {Rule::close_payload_one_byte, 1002, 6455, "5.5.1", "close frame with a payload of one byte"},
    {Rule::close_code_not_allowed, 1002, 6455, "7.4", "close code not allowed"},
    {Rule::close_reason_not_utf8, 1007, 6455, "5.5.1", "close reason is not UTF-8"},
    {Rule::compressed_bit_misplaced, 1002, 7692, "6.1", "compressed bit where no message begins"},
    {Rule::deflate_corrupt, 1007, 7692, "7.2.2", "compressed data is corrupt"},
};

constexpr bool in_order() {
  for (size_t i = 0; i < sizeof kRules / sizeof *kRules; i++)
    if (size_t(kRules[i].rule) != i) return false;
  return sizeof kRules / sizeof *kRules == size_t(Rule::deflate_corrupt) + 1;
}
static_assert(in_order());
}  // namespace

const RuleText& describe(Rule rule) { return kRules[size_t(rule)]; }

}  // namespace mws
