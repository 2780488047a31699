// What a session does when a client breaks a rule: it says so in a close frame, ends, and takes
// nothing more.
#include <set>

#include "tests/unit/protocol_support.h"

namespace mws::test {
namespace {

struct Breach {
  Rule rule;
  const char* name;
  std::string stream;
  uint64_t limit = 1 << 20;
  bool deflate = false;  // permessage-deflate was agreed on
};

std::vector<Breach> framing_breaches() {
  using enum Rule;
  std::vector<Breach> out = {
      {frame_not_masked, "unmasked text", from_hex("8105 68656c6c6f")},
      {frame_not_masked, "unmasked empty ping", from_hex("8900")},
      {frame_not_masked, "unmasked close", from_hex("8802 03e8")},
      {reserved_bit_set, "bit of an extension that was not agreed on", client_frame(0xc1, "hi")},
      {reserved_bit_set, "on a continuation", text("a", more) + client_frame(0xc0, "b")},
      {reserved_bit_set, "all on a close", client_frame(0xf8, "")},
      {length_not_minimal, "5 in two bytes", client_frame(0x81, "hello", LengthForm::two_bytes)},
      {length_not_minimal, "200 in eight bytes",
       client_frame(0x82, std::string(200, 'x'), LengthForm::eight_bytes)},
      {length_top_bit_set, "2^63", client_header(0x82, uint64_t(1) << 63)},
      {length_top_bit_set, "2^64 - 1", client_header(0x82, UINT64_MAX)},
      {length_top_bit_set, "2^64 - 9", client_header(0x02, UINT64_MAX - 8)},
      {control_frame_too_long, "ping of 126", ping(std::string(126, 'x'))},
      {control_frame_too_long, "pong of 70000", pong(std::string(70000, 'x'))},
      {control_frame_too_long, "reason of 124", close_frame(1000, std::string(124, 'x'))},
      {control_frame_fragmented, "ping", client_frame(0x09, "a") + continuation("b")},
      {control_frame_fragmented, "pong", client_frame(0x0a, "a") + continuation("b")},
      {control_frame_fragmented, "close", client_frame(0x08, "") + continuation("")},
      {continuation_without_start, "final", continuation("a") + text("b")},
      {continuation_without_start, "not final", continuation("a", more) + text("b")},
      {continuation_without_start, "empty", continuation("")},
      {data_frame_inside_message, "text in text", text("a", more) + text("b")},
      {data_frame_inside_message, "binary in text", text("a", more) + binary("b", more)},
      {data_frame_inside_message, "text in binary", binary("", more) + text("b")},
      {data_frame_inside_message, "after a ping", text("a", more) + ping("") + text("b")},
      {message_too_big, "one frame", text("01234567890"), 10},
      {message_too_big, "sum of fragments", text("01234", more) + continuation("567890"), 10},
      {message_too_big, "one byte after the limit", text("0123456789", more) + continuation("0"),
       10},
      {message_too_big, "anything over a limit of none", binary("x"), 0},
  };
  for (unsigned bits : {1, 2, 4, 7})
    out.push_back({reserved_bit_set, "each bit", client_frame(0x82 | bits << 4, "hi")});
  for (unsigned opcode : {3, 4, 5, 6, 7, 11, 12, 13, 14, 15}) {
    out.push_back({opcode_reserved, "empty", client_frame(0x80 | opcode, "")});
    out.push_back({opcode_reserved, "with payload", client_frame(0x80 | opcode, "payload")});
    out.push_back({opcode_reserved, "not final", client_frame(opcode, "payload")});
  }
  return out;
}

std::vector<Breach> payload_breaches() {
  using enum Rule;
  return {
      {text_not_utf8, "one frame", text("\xff")},
      {text_not_utf8, "cut off at the end", text("\xce\xba\xe1")},
      {text_not_utf8, "fragments", text("\xce\xba", more) + continuation("\xed\xa0\x80")},
      {text_not_utf8, "cut off at the end of fragments", text("\xce", more) + continuation("")},
      {text_not_utf8, "after a whole character too much", text("a", more) + continuation("\x80")},
      {close_payload_one_byte, "", close_with("\x03")},
      {close_payload_one_byte, "in a message", text("a", more) + close_with("x")},
      {close_code_not_allowed, "no code", close_frame(1005)},
      {close_code_not_allowed, "abnormal", close_frame(1006, "reason")},
      {close_code_not_allowed, "zero", close_frame(0)},
      {close_reason_not_utf8, "", close_frame(1000, "\xce\xba\xff")},
      {close_reason_not_utf8, "cut off", close_frame(1000, "\xe2\x82")},
  };
}

std::vector<Breach> deflate_breaches() {
  using enum Rule;
  return {
      {compressed_bit_misplaced, "continuation", text("a", more) + client_frame(0xc0, "b"), 99,
       true},
      {compressed_bit_misplaced, "ping", client_frame(0xc9, "a"), 99, true},
      {compressed_bit_misplaced, "close", client_frame(0xc8, ""), 99, true},
      {reserved_bit_set, "another one", client_frame(0xe1, "a"), 99, true},
      {deflate_corrupt, "no such block", client_frame(0xc2, "\x07"), 99, true},
      {deflate_corrupt, "cut off", client_frame(0xc2, "\xf2\x48"), 99, true},
      {message_too_big, "inflated", client_frame(0xc2, from_hex("000700f8ff") + "1234567"), 6,
       true},
      {text_not_utf8, "inflated", client_frame(0xc1, from_hex("000100feff80")), 99, true},
      {text_not_utf8, "cut off", client_frame(0xc1, from_hex("000100feffce00")), 99, true},
  };
}

std::vector<Breach> all_breaches() {
  std::vector<Breach> all = framing_breaches();
  for (auto& more : {payload_breaches(), deflate_breaches()})
    all.insert(all.end(), more.begin(), more.end());
  return all;
}

Start start_of(const Breach& breach) {
  return {.limit = breach.limit, .deflate = breach.deflate ? kDeflate : DeflateParameters{}};
}

// The close frame as the client must see it, from RFC 6455 and not from the code under test.
std::string expected_wire(const RuleText& rule) {
  std::string reason = rule.message;
  return std::string{char(0x88), char(2 + reason.size()), char(rule.close_code >> 8),
                     char(rule.close_code)} +
         reason;
}

TEST(SessionRules, WhenBrokenEndTheSessionWithTheirOwnCloseFrame) {
  for (const Breach& breach : all_breaches()) {
    const RuleText& rule = describe(breach.rule);
    SCOPED_TRACE(std::string(rule.message) + ": " + breach.name);
    Outcome outcome = outcome_of(breach.stream, start_of(breach));
    std::string what = std::to_string(rule.close_code) + " " + rule.message;
    ASSERT_GE(outcome.events.size(), 2u);
    EXPECT_EQ(*(outcome.events.end() - 2), "sent close " + what);
    EXPECT_EQ(outcome.events.back(), "end " + what + ", broken");
    EXPECT_EQ(outcome.broken, breach.rule);
    EXPECT_TRUE(outcome.wire.ends_with(expected_wire(rule)));
  }
}

TEST(SessionRules, AreAllCoveredHere) {
  std::set<Rule> covered = {Rule::too_many_fragments};  // below
  for (const Breach& breach : all_breaches()) covered.insert(breach.rule);
  EXPECT_EQ(covered.size(), size_t(Rule::deflate_corrupt));
}

TEST(SessionRules, LimitTheFragmentsOfAMessage) {
  std::string fragments = text("", more);
  for (uint32_t i = 2; i < kMaxFragments; i++) fragments += continuation("", more);
  EXPECT_EQ(events_of(fragments + continuation("last") + text("next")),
            (Events{"text last", "text next"}));
  const RuleText& rule = describe(Rule::too_many_fragments);
  std::string stream = fragments + continuation("", more) + ping("between") + continuation("last");
  Outcome outcome = play(stream, {1, 100, 101, stream.size() - 7});
  std::string what = std::to_string(rule.close_code) + " " + rule.message;
  EXPECT_EQ(outcome.events,
            (Events{"sent pong between", "sent close " + what, "end " + what + ", broken"}));
  EXPECT_TRUE(outcome.wire.ends_with(expected_wire(rule)));
}

TEST(SessionRules, WhenBrokenLeaveWhatCameBeforeDelivered) {
  for (const Breach& breach : all_breaches()) {
    SCOPED_TRACE(std::string(describe(breach.rule).message) + ": " + breach.name);
    Start start = start_of(breach);
    start.limit = std::max<uint64_t>(start.limit, 6);
    Events events = events_of(text("before", more) + continuation("") + breach.stream, start);
    EXPECT_EQ(events.front(), "text before");
  }
}

TEST(SessionRules, WhenBrokenDropWhatComesAfterwards) {
  for (const Breach& breach : all_breaches()) {
    SCOPED_TRACE(std::string(describe(breach.rule).message) + ": " + breach.name);
    Start start = start_of(breach);
    EXPECT_EQ(events_of(breach.stream, start),
              events_of(breach.stream + ping("after") + text("after") + close_frame(1000), start));
  }
}

TEST(SessionRules, OfTheHeaderAreEnforcedBeforeAnyPayloadArrives) {
  for (const Breach& breach : framing_breaches()) {
    SCOPED_TRACE(std::string(describe(breach.rule).message) + ": " + breach.name);
    if (breach.stream.find(text("a", more)) == 0 || breach.limit < 1 << 20) continue;
    EXPECT_LE(bytes_until_end(breach.stream), kMaxClientHeader);
  }
}

TEST(SessionLimit, IsEnforcedByTheHeaderAlone) {
  for (uint64_t length :
       {uint64_t(1 << 20) + 1, uint64_t(1) << 32, uint64_t(1) << 62, (uint64_t(1) << 63) - 1}) {
    std::string header = client_header(0x82, length);
    Outcome outcome = outcome_of(header);
    EXPECT_EQ(outcome.broken, Rule::message_too_big) << length;
    EXPECT_EQ(outcome.events.front(), "sent close 1009 message too big");
    EXPECT_EQ(bytes_until_end(header + "payload"), header.size());
  }
}

TEST(SessionLimit, IsEnforcedByTheHeaderOfTheFragmentThatExceedsIt) {
  std::string before = text("0123", more) + ping("") + continuation("4567", more);
  std::string header = client_header(0x00, 3);
  EXPECT_EQ(bytes_until_end(before + header + "xxx", {.limit = 10}), before.size() + header.size());
}

TEST(SessionLimit, HoldsForSumsThatDoNotFitIntoTheirType) {
  constexpr uint64_t most = (uint64_t(1) << 63) - 1;
  for (uint64_t limit : {uint64_t(10), uint64_t(1) << 20, most})
    for (uint64_t length : {most, most - 4, most - 9}) {
      Start start{.limit = limit};
      std::string stream = binary("0123456789", more) + client_header(0x80, length);
      EXPECT_EQ(outcome_of(stream, start).broken, Rule::message_too_big) << limit << " " << length;
    }
}

TEST(SessionLimit, OfTheLargestNumberMeansNone) {
  std::string stream = binary("0123456789", more) + client_header(0, (uint64_t(1) << 63) - 1);
  EXPECT_EQ(events_of(stream, {.limit = UINT64_MAX}), Events{});
}

// ---- Text fails at the very byte after which it cannot be saved ---------------------------------

struct BadText {
  const char* hex;
  size_t fails_after;  // bytes of the payload; its size for text that is cut off at its end
};

const BadText kBadTexts[] = {
    // Cut off inside a character.
    {"ce", 1},
    {"cebae1", 3},
    {"cebae1bd", 4},
    {"cebae1bdb9cf", 6},
    {"df", 1},
    {"efbf", 2},
    {"f09080", 3},
    // Continuation bytes without a first byte.
    {"80", 1},
    {"bf", 1},
    {"80bf80bf80bf", 1},
    {"6180", 2},
    {"c2a2a2", 3},
    // First bytes without their continuation.
    {"c220", 2},
    {"df20", 2},
    {"e020", 2},
    {"ef8020", 3},
    {"f020", 2},
    {"f1808020", 4},
    // Forms of five and six bytes, and bytes that never occur.
    {"f888808080", 1},
    {"fc8480808080", 1},
    {"fbbfbfbfbf", 1},
    {"fdbfbfbfbfbf", 1},
    {"fe", 1},
    {"ff", 1},
    {"fefeffff", 1},
    {"61ff", 2},
    // Overlong forms.
    {"c0af", 1},
    {"c080", 1},
    {"c1bf", 1},
    {"e080af", 2},
    {"e09fbf", 2},
    {"e08080", 2},
    {"f08080af", 2},
    {"f08fbfbf", 2},
    {"f0808080", 2},
    {"f8808080af", 1},
    {"fc80808080af", 1},
    // Surrogates, alone and in pairs.
    {"eda080", 2},
    {"edadbf", 2},
    {"edae80", 2},
    {"edafbf", 2},
    {"edb080", 2},
    {"edbfbf", 2},
    {"eda080edb080", 2},
    {"edafbfedbfbf", 2},
    {"cebae1bdb9cf83cebcceb5eda080656469746564", 13},
    // Above U+10FFFF.
    {"f4908080", 2},
    {"f5808080", 1},
    {"f7bfbfbf", 1},
    {"cebae1bdb9cf83cebcceb5f490808065", 13},
};

TEST(SessionText, FailsAtTheByteThatMakesItInvalid) {
  for (const BadText& bad : kBadTexts) {
    std::string payload = from_hex(bad.hex), stream = text(payload);
    size_t header = stream.size() - payload.size();
    EXPECT_EQ(bytes_until_end(stream), header + bad.fails_after) << bad.hex;
    EXPECT_EQ(outcome_of(stream).broken, Rule::text_not_utf8) << bad.hex;
  }
}

TEST(SessionText, BehindLongASCIIFailsAtTheByteThatMakesItInvalid) {
  for (size_t before : {30, 31, 32, 33, 63, 64, 200})
    for (const BadText& bad : kBadTexts) {
      std::string payload = std::string(before, 'a') + from_hex(bad.hex), stream = text(payload);
      size_t header = stream.size() - payload.size();
      EXPECT_EQ(bytes_until_end(stream), header + before + bad.fails_after) << bad.hex;
      EXPECT_EQ(play(stream, {}).broken, Rule::text_not_utf8) << bad.hex;
    }
}

// In fragments of one byte, the last of which is not the message's last but where it is cut off.
TEST(SessionText, InFragmentsFailsAtTheByteThatMakesItInvalid) {
  for (const BadText& bad : kBadTexts) {
    std::string payload = from_hex(bad.hex), stream;
    for (size_t i = 0; i < payload.size(); i++) {
      bool final = i + 1 == payload.size();
      stream += client_frame((i ? 0u : 1u) | (final ? 0x80u : 0u), payload.substr(i, 1));
    }
    EXPECT_EQ(bytes_until_end(stream), 7 * bad.fails_after) << bad.hex;
    EXPECT_EQ(outcome_of(stream).broken, Rule::text_not_utf8) << bad.hex;
  }
}

TEST(SessionText, CutOffInAFragmentMayStillBeCompleted) {
  EXPECT_EQ(bytes_until_end(text("\xf4", more)), std::string::npos);
  EXPECT_EQ(outcome_of(text("\xf4", more) + continuation("\x90", more)).broken,
            Rule::text_not_utf8);
  EXPECT_EQ(events_of(text("\xf4", more) + continuation("\x8f\xbf\xbf")),
            Events{"text \\xf4\\x8f\\xbf\\xbf"});
}

}  // namespace
}  // namespace mws::test
