// Random streams: what a session makes of them must not depend on how they are cut, and must be
// what the stream was made from, or what the plain session makes of it.
#include <random>

#include "tests/unit/protocol_support.h"

namespace mws::test {
namespace {

constexpr uint64_t kLimit = 1 << 20;

// The same numbers everywhere: the distributions of the standard library differ between libraries.
class Random {
 public:
  explicit Random(unsigned seed) : engine_(seed) {}
  size_t below(size_t limit) { return size_t(engine_() % limit); }
  bool one_in(size_t n) { return below(n) == 0; }
  template <class T, size_t n>
  T pick(const T (&from)[n]) {
    return from[below(n)];
  }

 private:
  std::mt19937 engine_;
};

size_t random_size(Random& random) {
  static constexpr size_t kEdges[] = {0, 1, 31, 32, 33, 125, 126, 127, 128, 4095, 65535, 65536};
  if (random.one_in(40)) return random.pick(kEdges);
  return random.below(random.one_in(10) ? 3000 : 90);
}

std::string random_bytes(Random& random, size_t size) {
  std::string out(size, '\0');
  for (char& c : out) c = char(random.below(256));
  return out;
}

std::string random_text(Random& random, size_t size) {
  static constexpr std::string_view kCharacters[] = {
      "é", "ß", "€", "語", "\xef\xbf\xbf", "𝄞", "\xf4\x8f\xbf\xbf", "\x7f"};
  std::string out;
  while (out.size() < size)
    if (random.one_in(20)) out += random.pick(kCharacters);
    else out += char(' ' + random.below(95));
  return out;
}

// A stream of frames, and the events it must cause.
struct Script {
  std::string stream;
  Events events;
  bool deflates = false;  // some of its messages are compressed

  void add_control(Random& random) {
    std::string payload = random_bytes(random, random.one_in(8) ? 125 : random.below(20));
    if (random.one_in(3)) {
      stream += pong(payload);
    } else {
      stream += ping(payload);
      events.push_back(joined("sent pong", payload));
    }
  }

  void add_message(Random& random) {
    Opcode type = random.one_in(2) ? Opcode::text : Opcode::binary;
    size_t size = random_size(random);
    std::string payload =
        type == Opcode::text ? random_text(random, size) : random_bytes(random, size);
    std::string event = message_event(type, payload);
    bool compressed = deflates && random.one_in(2);
    if (compressed) payload = deflated(payload, int(1 + random.below(9)));
    size_t fragments = random.one_in(2) ? 1 : 1 + random.below(6), from = 0;
    for (size_t i = 0; i < fragments; i++) {
      bool final = i + 1 == fragments;
      size_t piece = final ? payload.size() - from : random.below(payload.size() - from + 1);
      unsigned first = unsigned(type) | (compressed ? 0x40u : 0u);
      stream += client_frame((i ? 0u : first) | (final ? 0x80u : 0u),
                             std::string_view(payload).substr(from, piece));
      from += piece;
      if (!final && random.one_in(4)) add_control(random);
    }
    events.push_back(event);
  }

  void add_close(Random& random) {
    static constexpr unsigned kCodes[] = {1000, 1001, 1011, 3000, 4999};
    if (random.one_in(4)) {
      stream += close_with("");
      events.insert(events.end(), {"sent close", "end 1005, clean"});
      return;
    }
    unsigned code = random.pick(kCodes);
    std::string reason = random_text(random, random.below(60));
    stream += close_frame(code, reason);
    events.push_back(joined("sent close " + std::to_string(code), reason));
    events.push_back(joined("end " + std::to_string(code), reason) + ", clean");
  }
};

Script random_script(Random& random, bool deflates = false) {
  Script script;
  script.deflates = deflates;
  for (size_t i = random.below(25); i-- > 0;)
    if (random.one_in(4)) script.add_control(random);
    else script.add_message(random);
  if (random.one_in(2)) script.add_close(random);
  return script;
}

std::vector<size_t> random_cuts(Random& random, size_t size) {
  std::vector<size_t> cuts;
  size_t longest = random.one_in(3) ? 8 : random.one_in(2) ? 200 : 20000;
  for (size_t at = random.below(longest); at < size; at += random.below(longest))
    cuts.push_back(at);
  return cuts;
}

// How a session reads that must make no difference.
void choose_ways(Random& random, Start& start) {
  start.streams = random.one_in(2);
  start.interrupts = random.one_in(2);
  start.inflate_at_most = random.one_in(2) ? 1 + random.below(2000) : UINT64_MAX;
}

TEST(SessionRandom, ValidStreamsCauseTheEventsTheyWereMadeFromHoweverTheyAreCut) {
  for (unsigned seed = 1; seed <= 400; seed++) {
    Random random(seed);
    bool deflates = seed % 2;
    Script script = random_script(random, deflates);
    Start start{.limit = kLimit, .deflate = deflates ? kDeflate : DeflateParameters()};
    ASSERT_EQ(play(script.stream, {}, start).events, script.events) << "seed " << seed;
    for (int i = 0; i < 5; i++) {
      auto cuts = random_cuts(random, script.stream.size());
      choose_ways(random, start);
      ASSERT_EQ(play(script.stream, cuts, start).events, script.events) << "seed " << seed;
    }
  }
}

TEST(SessionRandom, DamagedStreamsCauseTheEventsOfThePlainSessionHoweverTheyAreCut) {
  for (unsigned seed = 1; seed <= 600; seed++) {
    Random random(seed);
    bool deflates = seed % 2;
    std::string stream = random_script(random, deflates).stream;
    if (stream.empty()) continue;
    for (size_t i = 1 + random.below(3); i-- > 0;)
      stream[random.below(stream.size())] = char(random.below(256));
    Start start{.limit = random.one_in(2) ? kLimit : random.below(200),
                .deflate = deflates ? kDeflate : DeflateParameters()};
    Outcome plain = plain_outcome(stream, start);
    ASSERT_EQ(play(stream, {}, start), plain) << "seed " << seed;
    for (int i = 0; i < 4; i++) {
      auto cuts = random_cuts(random, stream.size());
      choose_ways(random, start);
      ASSERT_EQ(play(stream, cuts, start), plain) << "seed " << seed;
    }
  }
}

TEST(SessionRandom, NoiseEndsAsInThePlainSessionHoweverItIsCut) {
  for (unsigned seed = 1; seed <= 3000; seed++) {
    Random random(seed);
    std::string stream = random_bytes(random, 2 + random.below(60));
    if (random.one_in(2)) {  // past the first checks
      stream[0] = char(stream[0] & 0x8f);
      stream[1] = char(stream[1] | 0x80);
    }
    Start start{.limit = 40};
    bool closed = random.one_in(4);
    if (closed)
      start.begin = [](Session& session, Recorder& host) { session.close(1001, "", host); };
    EXPECT_EQ(outcome_of(stream, start), plain_outcome(stream, start, closed));
    if (testing::Test::HasFailure()) FAIL() << "seed " << seed;
  }
}

}  // namespace
}  // namespace mws::test
