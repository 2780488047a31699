#include "src/protocol/frame.h"

#include "tests/unit/protocol_support.h"

namespace mws {
namespace {

using test::client_header;
using test::LengthForm;

struct Parsed {
  ParsedHeader result;
  FrameHeader header;
};

// Parses bytes that lie in memory of their own, exactly as long as they are.
Parsed parse(std::string_view bytes) {
  std::vector<uint8_t> memory(bytes.begin(), bytes.end());
  Parsed parsed;
  parsed.result = parse_client_header(memory, parsed.header);
  return parsed;
}

// The rule that the header breaks, after checking that it is found with the first bytes that show
// it and not before. Cut is how many bytes that takes.
Rule broken_after(std::string_view bytes, size_t cut) {
  for (size_t size = 0; size < cut; size++) {
    Parsed early = parse(bytes.substr(0, size));
    EXPECT_EQ(early.result.broken, Rule::none) << size;
    EXPECT_EQ(early.result.size, 0u) << size;
  }
  for (size_t size = cut; size < bytes.size(); size++)
    EXPECT_EQ(parse(bytes.substr(0, size)).result.broken, parse(bytes).result.broken) << size;
  return parse(bytes.substr(0, cut)).result.broken;
}

TEST(FrameHeader, IsReadInAllFormsOfTheLength) {
  for (uint64_t length :
       {uint64_t(0), uint64_t(1), uint64_t(125), uint64_t(126), uint64_t(127), uint64_t(128),
        uint64_t(65535), uint64_t(65536), uint64_t(1) << 32, (uint64_t(1) << 63) - 1}) {
    std::string bytes = client_header(0x82, length);
    Parsed parsed = parse(bytes);
    EXPECT_EQ(parsed.result.broken, Rule::none) << length;
    EXPECT_EQ(parsed.result.size, bytes.size()) << length;
    EXPECT_EQ(parsed.header.length, length);
    EXPECT_EQ(memcmp(&parsed.header.masking_key, test::kKey, 4), 0);
    EXPECT_LE(bytes.size(), kMaxClientHeader);
  }
}

TEST(FrameHeader, IsReadWithAndWithoutFin) {
  for (unsigned opcode : {0, 1, 2}) {
    Parsed first = parse(client_header(opcode, 5)), final = parse(client_header(0x80 | opcode, 5));
    EXPECT_FALSE(first.header.fin);
    EXPECT_TRUE(final.header.fin);
    EXPECT_EQ(first.header.opcode, Opcode(opcode));
    EXPECT_EQ(final.header.opcode, Opcode(opcode));
  }
}

TEST(FrameHeader, NeedsAllItsBytes) {
  for (uint64_t length : {5, 300, 70000}) {
    std::string bytes = client_header(0x81, length);
    for (size_t size = 0; size < bytes.size(); size++) {
      EXPECT_EQ(parse(bytes.substr(0, size)).result.size, 0u) << size;
      EXPECT_EQ(parse(bytes.substr(0, size)).result.broken, Rule::none) << size;
    }
  }
}

TEST(FrameHeader, LeavesThePayloadBehindItAlone) {
  EXPECT_EQ(parse(test::text("hello") + "anything").result.size, 6u);
}

TEST(FrameHeader, TellsControlFramesFromDataFrames) {
  for (Opcode opcode : {Opcode::continuation, Opcode::text, Opcode::binary})
    EXPECT_FALSE(is_control(opcode));
  for (Opcode opcode : {Opcode::close, Opcode::ping, Opcode::pong}) EXPECT_TRUE(is_control(opcode));
}

// Judges each pair of first bytes by the wording of RFC 6455 §5.2 and §5.5.
bool pair_is_allowed(unsigned first, unsigned second) {
  unsigned opcode = first & 15, length = second & 127;
  bool known = opcode <= 2 || (opcode >= 8 && opcode <= 10);
  bool control_ok = opcode < 8 || ((first & 0x80) && length <= 125);
  return !(first & 0x70) && known && (second & 0x80) && control_ok;
}

TEST(FrameHeader, IsRefusedByItsFirstTwoBytesExactlyWhereTheStandardForbidsThem) {
  for (unsigned first = 0; first < 256; first++)
    for (unsigned second = 0; second < 256; second++) {
      std::string bytes{char(first), char(second)};
      EXPECT_EQ(parse(bytes).result.broken == Rule::none, pair_is_allowed(first, second))
          << first << " " << second;
    }
}

TEST(FrameHeader, WithAReservedBitBreaksThatRule) {
  for (unsigned bits = 1; bits < 8; bits++)
    for (unsigned opcode : {0, 1, 2, 8, 9, 10})
      EXPECT_EQ(broken_after(client_header(0x80 | bits << 4 | opcode, 3), 2),
                Rule::reserved_bit_set);
}

TEST(FrameHeader, WithAReservedOpcodeBreaksThatRule) {
  for (unsigned opcode : {3, 4, 5, 6, 7, 11, 12, 13, 14, 15})
    for (unsigned fin : {0x00, 0x80})
      EXPECT_EQ(broken_after(client_header(fin | opcode, 3), 2), Rule::opcode_reserved) << opcode;
}

TEST(FrameHeader, WithoutAMaskBreaksThatRule) {
  for (unsigned opcode : {0, 1, 2, 8, 9, 10})
    EXPECT_EQ(broken_after(std::string{char(0x80 | opcode), 3, 'a', 'b', 'c'}, 2),
              Rule::frame_not_masked);
}

TEST(FrameHeader, OfAControlFrameOver125BytesBreaksThatRule) {
  for (unsigned opcode : {8, 9, 10}) {
    EXPECT_EQ(broken_after(client_header(0x80 | opcode, 126), 2), Rule::control_frame_too_long);
    EXPECT_EQ(broken_after(client_header(0x80 | opcode, 65536), 2), Rule::control_frame_too_long);
    EXPECT_EQ(broken_after(client_header(0x80 | opcode, 5, LengthForm::two_bytes), 2),
              Rule::control_frame_too_long);
    EXPECT_EQ(parse(client_header(0x80 | opcode, 125)).result.broken, Rule::none);
  }
}

TEST(FrameHeader, OfAFragmentedControlFrameBreaksThatRule) {
  for (unsigned opcode : {8, 9, 10})
    EXPECT_EQ(broken_after(client_header(opcode, 5), 2), Rule::control_frame_fragmented);
}

TEST(FrameHeader, WithALongerFormOfTheLengthThanNeededBreaksThatRule) {
  for (uint64_t length : {0, 5, 125})
    EXPECT_EQ(broken_after(client_header(0x81, length, LengthForm::two_bytes), 4),
              Rule::length_not_minimal);
  for (uint64_t length : {0, 125, 126, 200, 65535})
    EXPECT_EQ(broken_after(client_header(0x81, length, LengthForm::eight_bytes), 10),
              Rule::length_not_minimal);
}

TEST(FrameHeader, WithTheTopBitOfTheLengthSetBreaksThatRule) {
  for (uint64_t length : {uint64_t(1) << 63, UINT64_MAX, UINT64_MAX - 14})
    EXPECT_EQ(broken_after(client_header(0x82, length), 10), Rule::length_top_bit_set);
}

TEST(FrameHeader, OfTheServerIsUnmaskedAndInItsShortestForm) {
  struct {
    Opcode opcode;
    bool fin;
    uint64_t length;
    const char* bytes;
  } const cases[] = {
      {Opcode::text, true, 0, "8100"},
      {Opcode::binary, true, 125, "827d"},
      {Opcode::binary, false, 126, "027e007e"},
      {Opcode::continuation, true, 65535, "807effff"},
      {Opcode::binary, true, 65536, "827f0000000000010000"},
      {Opcode::binary, true, 0x0102030405060708, "827f0102030405060708"},
      {Opcode::close, true, 2, "8802"},
      {Opcode::ping, true, 0, "8900"},
      {Opcode::pong, true, 125, "8a7d"},
  };
  for (auto& c : cases) {
    uint8_t out[kMaxServerHeader];
    size_t size = write_server_header(out, c.opcode, c.fin, c.length);
    EXPECT_EQ(text_of({out, size}), test::from_hex(c.bytes)) << c.bytes;
  }
}

}  // namespace
}  // namespace mws
