#include "src/protocol/utf8.h"

#include <sys/mman.h>
#include <unistd.h>

#include <random>

#include "tests/unit/plain_utf8.h"
#include "tests/unit/protocol_support.h"

#ifdef WEBSOCKET_SIMDJSON
#include <simdjson.h>
#endif

namespace mws {
namespace {

using test::decode;
using test::Verdict;

// The validator's verdict byte by byte.
Verdict validate_by_byte(Bytes text) {
  Utf8Validator validator;
  for (size_t i = 0; i < text.size(); i++)
    if (!validator.feed(text.subspan(i, 1))) return {i, false};
  return {text.size(), validator.complete()};
}

// Byte values on both sides of each limit that RFC 3629 draws.
constexpr uint8_t kEdges[] = {0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1,
                              0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3,
                              0xf4, 0xf5, 0xf7, 0xf8, 0xfb, 0xfc, 0xfd, 0xfe, 0xff};

TEST(Utf8, EmptyTextIsValid) {
  Utf8Validator validator;
  EXPECT_TRUE(validator.feed({}));
  EXPECT_TRUE(validator.complete());
  EXPECT_TRUE(is_utf8({}));
}

TEST(Utf8, EveryCodePointThatIsNoSurrogateIsValid) {
  for (uint32_t point = 0; point <= 0x10ffff; point++) {
    uint8_t bytes[4];
    size_t length = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    constexpr uint8_t kMarks[] = {0, 0x00, 0xc0, 0xe0, 0xf0};
    for (size_t i = length; i-- > 1;)
      bytes[i] = uint8_t(0x80 | (point >> 6 * (length - 1 - i) & 0x3f));
    bytes[0] = uint8_t(kMarks[length] | point >> 6 * (length - 1));
    ASSERT_EQ(is_utf8({bytes, length}), point < 0xd800 || point > 0xdfff) << std::hex << point;
  }
}

TEST(Utf8, AgreesWithAPlainDecoderOnAllSequencesOfUpToThreeBytes) {
  for (unsigned a = 0; a < 256; a++)
    for (unsigned b = 0; b < 256; b++) {
      uint8_t bytes[3] = {uint8_t(a), uint8_t(b), 0};
      ASSERT_EQ(validate_by_byte({bytes, 1}), decode({bytes, 1})) << a;
      Verdict two = decode({bytes, 2});
      ASSERT_EQ(validate_by_byte({bytes, 2}), two) << a << " " << b;
      ASSERT_EQ(is_utf8({bytes, 2}), two.complete) << a << " " << b;
      Utf8Validator before;
      before.feed({bytes, 2});
      for (unsigned c = 0; c < 256; c++) {
        bytes[2] = uint8_t(c);
        Verdict three = two.viable < 2 ? two : decode({bytes, 3});
        Utf8Validator after = before;
        bool good = after.feed({&bytes[2], 1});
        if (good != (three.viable == 3) || after.complete() != three.complete)
          FAIL() << a << " " << b << " " << c;
      }
    }
}

TEST(Utf8, AgreesWithAPlainDecoderOnSequencesOfFourBytesAtAllLimits) {
  for (unsigned a = 0xee; a < 256; a++)
    for (unsigned b = 0; b < 256; b++)
      for (uint8_t c : kEdges)
        for (uint8_t d : kEdges) {
          const uint8_t bytes[4] = {uint8_t(a), uint8_t(b), c, d};
          Verdict expected = decode(bytes);
          if (validate_by_byte(bytes) != expected || is_utf8(bytes) != expected.complete)
            FAIL() << a << " " << b << " " << unsigned(c) << " " << unsigned(d);
        }
}

// Puts a sequence behind 0 to 34 bytes of ASCII and in front of some more, in memory of its own.
void expect_agreement_in_all_alignments(Bytes sequence) {
  for (size_t before = 0; before <= 34; before++)
    for (size_t after : {0, 1, 32, 40}) {
      std::vector<uint8_t> text(before, 'a');
      text.insert(text.end(), sequence.begin(), sequence.end());
      text.insert(text.end(), after, 'z');
      Verdict expected = decode(text);
      ASSERT_EQ(is_utf8(text), expected.complete) << before << " " << after;
      Utf8Validator validator;
      Bytes viable = Bytes(text).first(expected.viable),
            rest = Bytes(text).subspan(expected.viable);
      ASSERT_TRUE(validator.feed(viable)) << before << " " << after;
      ASSERT_EQ(validator.feed(rest), rest.empty()) << before << " " << after;
    }
}

TEST(Utf8, AgreesWithAPlainDecoderInAllAlignmentsAroundTheFastPath) {
  for (uint8_t a : kEdges) {
    expect_agreement_in_all_alignments(Bytes(&a, 1));
    for (uint8_t b : kEdges) {
      const uint8_t two[] = {a, b};
      expect_agreement_in_all_alignments(two);
      for (uint8_t c : {0x41, 0x80, 0xbf, 0xe0}) {
        const uint8_t three[] = {a, b, c};
        expect_agreement_in_all_alignments(three);
      }
    }
  }
  for (const char* four : {"f0908080", "f48fbfbf", "f4908080", "f08fbfbf", "f1808080", "f18080"})
    expect_agreement_in_all_alignments(bytes_of(test::from_hex(four)));
}

TEST(Utf8, EveryByteValueIsSeenAtEveryPlaceOfABlock) {
  for (size_t size : {31, 32, 33, 64, 65, 96})
    for (size_t at = 0; at < size; at++)
      for (unsigned value = 0x80; value < 256; value++) {
        std::vector<uint8_t> bytes(size, 'a');
        bytes[at] = uint8_t(value);
        if (is_utf8(bytes)) FAIL() << value << " at " << at << " of " << size;
      }
}

TEST(Utf8, TextCutInTwoAnywhereIsTheSameText) {
  std::string text = "κόσμε € 𝄞 plain ASCII that is longer than one block of 32 bytes, Ω é 語 end";
  for (size_t cut = 0; cut <= text.size(); cut++) {
    Utf8Validator validator;
    ASSERT_TRUE(validator.feed(bytes_of(text).first(cut)));
    ASSERT_TRUE(validator.feed(bytes_of(text).subspan(cut)));
    ASSERT_TRUE(validator.complete());
  }
}

TEST(Utf8, StaysInvalidUntilReset) {
  Utf8Validator validator;
  EXPECT_FALSE(validator.feed(bytes_of("\xff")));
  EXPECT_FALSE(validator.feed({}));
  EXPECT_FALSE(validator.feed(bytes_of("good")));
  EXPECT_FALSE(validator.feed(bytes_of(std::string(100, 'a'))));
  EXPECT_FALSE(validator.complete());
  validator.reset();
  EXPECT_TRUE(validator.feed(bytes_of("good")));
  EXPECT_TRUE(validator.complete());
}

TEST(Utf8, ThatEndsInsideACharacterIsNotComplete) {
  for (const char* start : {"\xc3", "\xe2", "\xe2\x82", "\xf0\x9d", "\xf0\x9d\x84"}) {
    Utf8Validator validator;
    EXPECT_TRUE(validator.feed(bytes_of(start)));
    EXPECT_FALSE(validator.complete());
    EXPECT_FALSE(is_utf8(bytes_of(start)));
  }
}

// ---- All ways to validate -----------------------------------------------------------------------

// Without the library, and with each of the library's implementations that this CPU can run.
template <typename Check>
void in_all_ways(Check check) {
  {
    SCOPED_TRACE("plain");
    check(&Utf8Validator::feed_plainly);
  }
#ifdef WEBSOCKET_SIMDJSON
  const simdjson::implementation* usual = simdjson::get_active_implementation();
  for (const simdjson::implementation* each : simdjson::get_available_implementations())
    if (each->supported_by_runtime_system()) {
      SCOPED_TRACE("simdjson's " + each->name());
      simdjson::get_active_implementation() = each;
      check(&Utf8Validator::feed);
    }
  simdjson::get_active_implementation() = usual;
#else
  check(&Utf8Validator::feed);
#endif
}
using Feed = bool (Utf8Validator::*)(Bytes);

// Feeds a text in pieces that end at the cuts and at its end. Each piece has memory of its own, so
// that a sanitizer sees what is read beside it.
void expect_agreement(Feed feed, Bytes text, const std::vector<size_t>& cuts) {
  Verdict expected = decode(text);
  Utf8Validator validator;
  size_t begin = 0;
  for (size_t i = 0; i <= cuts.size(); i++) {
    size_t end = i < cuts.size() ? cuts[i] : text.size();
    std::vector<uint8_t> piece(text.begin() + long(begin), text.begin() + long(end));
    bool good = (validator.*feed)(piece);
    ASSERT_EQ(good, end <= expected.viable) << "piece " << begin << " to " << end;
    ASSERT_EQ(validator.complete(), good && decode(text.first(end)).complete) << "after " << end;
    begin = end;
  }
}

// Bytes in front of and behind a sequence: what the fast paths skip, and what they do not.
std::string filled(size_t size, bool ascii) {
  std::string out(size % 2, 'a');
  while (out.size() < size) out += ascii ? "zz" : "é";
  return out;
}

TEST(Utf8, EverySplitOfASequenceAtTheLimitsOfBlocksGivesThePlainDecodersVerdict) {
  const char* sequences[] = {"c3a9",     "e282ac",   "f09d849e", "eda080", "e08080",  "f08fbfbf",
                             "f4908080", "f8888080", "c3",       "e282",   "f09d84",  "80",
                             "ff",       "c0af",     "e28261",   "f09d61", "efbfbff4"};
  in_all_ways([&](Feed feed) {
    for (std::string_view hex : sequences)
      for (size_t limit : {0, 16, 32, 48, 64, 128})
        for (size_t before = limit < 5 ? 0 : limit - 5; before <= limit + 1; before++)
          for (size_t after : {0, 1, 15, 28, 44, 46, 48, 64, 67})
            for (bool ascii : {true, false}) {
              std::string sequence = test::from_hex(hex);
              std::string text = filled(before, ascii) + sequence + filled(after, ascii);
              expect_agreement(feed, bytes_of(text), {});
              for (size_t cut = 0; cut <= sequence.size() && cut < 4; cut++) {
                expect_agreement(feed, bytes_of(text), {before + cut});
                expect_agreement(feed, bytes_of(text), {before + cut, before + sequence.size()});
              }
              if (testing::Test::HasFailure()) FAIL() << hex << " behind " << before;
            }
  });
}

// A valid text; non_ascii of 8 characters are something else than ASCII.
std::string random_text(std::mt19937& random, size_t size, unsigned non_ascii) {
  static const std::string kCharacters[] = {
      "\xc2\x80",     "é", "߿", "\xe0\xa0\x80",    "語", "\xed\x9f\xbf",
      "\xef\xbf\xbf", "𐀀", "😀",  "\xf4\x8f\xbf\xbf"};
  std::string text;
  while (text.size() < size)
    if (random() % 8 < non_ascii) text += kCharacters[random() % std::size(kCharacters)];
    else text += char(random() % 128);
  return text;
}

void mutate(std::mt19937& random, std::string& text) {
  if (text.empty()) return;
  size_t at = random() % text.size();
  switch (random() % 5) {
    case 0: text[at] = char(random()); break;
    case 1: text[at] = char(text[at] ^ 1 << random() % 8); break;
    case 2: text.erase(at, 1 + random() % 3); break;
    case 3: text.insert(at, 1, char(0x80 | random())); break;
    default: text.resize(at);
  }
}

TEST(Utf8, RandomAndMutatedTextsInRandomPiecesGiveThePlainDecodersVerdict) {
  in_all_ways([](Feed feed) {
    std::mt19937 random(6455);
    for (int round = 0; round < 4000; round++) {
      std::string text = random_text(random, random() % 300, unsigned(round) % 9);
      for (unsigned mutations = random() % 3; mutations; mutations--) mutate(random, text);
      std::vector<size_t> cuts;
      for (size_t n = random() % 4; n; n--) cuts.push_back(random() % (text.size() + 1));
      std::sort(cuts.begin(), cuts.end());
      expect_agreement(feed, bytes_of(text), cuts);
      if (testing::Test::HasFailure()) FAIL() << "round " << round;
    }
  });
}

TEST(Utf8, LongTextsGiveThePlainDecodersVerdict) {
  in_all_ways([](Feed feed) {
    std::mt19937 random(3629);
    for (int round = 0; round < 20; round++) {
      std::string text = random_text(random, 70000, unsigned(round) % 9);
      expect_agreement(feed, bytes_of(text), {random() % 4096, 16384, 65536});
      mutate(random, text);
      expect_agreement(feed, bytes_of(text), {});
      if (testing::Test::HasFailure()) FAIL() << "round " << round;
    }
  });
}

// Nothing can be read behind this memory, by libraries either.
TEST(Utf8, NothingBehindThePieceIsRead) {
  size_t page = size_t(sysconf(_SC_PAGESIZE));
  void* memory =
      mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  uint8_t* end = static_cast<uint8_t*>(memory) + page;
  ASSERT_EQ(mprotect(end, page, PROT_NONE), 0);
  in_all_ways([&](Feed feed) {
    for (bool ascii : {true, false})
      for (size_t size = 0; size <= 300; size++) {
        memcpy(end - size, filled(size, ascii).data(), size);
        Utf8Validator validator;
        ASSERT_TRUE((validator.*feed)({end - size, size})) << size;
        ASSERT_TRUE(validator.complete()) << size;
      }
  });
  munmap(memory, 2 * page);
}

}  // namespace
}  // namespace mws
