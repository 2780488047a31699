// How fast the server's loops over payload bytes are, beside memcpy of the same bytes in the same
// run: bytes WHAT SIZE MILLISECONDS. The two take turns; time is that of the thread, so that other
// work on the machine counts as little as it can. Prints gb_s=, memcpy_gb_s= and ratio=.
#include <time.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "src/protocol/mask.h"
#include "src/protocol/utf8.h"

namespace {

using namespace mws;

constexpr int kTurns = 20;

const std::string kAscii = "The quick brown fox jumps over the lazy dog, twice a day. ";
const std::string kLatin = "Überall dürfen Bäche fließen, déjà vu à l'été, año nuevo más. ";
const std::string kCjk = "人間の尊厳は不可侵である。我々は毎日新しい言葉を学び、";
const std::string kEmoji = "😀🎉🚀🐘🌍💡🔥🧩";

// What a row is made of; repeated up to the size that is wanted.
const std::map<std::string, std::string> kTexts = {
    {"utf8-ascii", kAscii},
    {"utf8-latin", kLatin},
    {"utf8-cjk", kCjk},
    {"utf8-emoji", kEmoji},
    {"utf8-mixed", kAscii + kLatin + kCjk + "κόσμε Ω, Привет, мир! " + kEmoji},
};

double thread_seconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return double(now.tv_sec) + double(now.tv_nsec) / 1e9;
}

// The payload as it lies behind its header in what was read, and memory for a copy. The two are
// half a page apart, modulo a page: nearer to each other memcpy can take many times as long.
class Payload {
 public:
  Payload(const std::string& unit, size_t payload_size)
      : size(payload_size), memory_(2 * (size + 2 * kPage)) {
    while (text_.size() + unit.size() <= size) text_ += unit;
    // A part of the text, cut between two characters.
    size_t more = size - text_.size();
    while (more && (uint8_t(unit[more]) & 0xc0) == 0x80) more--;
    text_.append(unit, 0, more).resize(size, 'z');
    size_t header = size < 126 ? 6 : size < 65536 ? 8 : 14;
    from = page_from(memory_.data()) + header;
    to = page_from(from + size) + kPage / 2;
    memcpy(from, text_.data(), size);
  }

  const size_t size;
  uint8_t *from, *to;

 private:
  static constexpr size_t kPage = 4096;
  static uint8_t* page_from(uint8_t* at) { return at + (-uintptr_t(at) & (kPage - 1)); }

  std::string text_;
  std::vector<uint8_t> memory_;
};

// Calls until the turn's time is over; the calls of one turn and their seconds are added.
struct Side {
  std::function<void()> once;
  double calls = 0, seconds = 0;

  void turn(double turn_seconds, int batch) {
    double begin = thread_seconds(), now = begin;
    for (; now - begin < turn_seconds; now = thread_seconds()) {
      for (int i = 0; i < batch; i++) once();
      calls += batch;
    }
    seconds += now - begin;
  }
  double gb_s(size_t size) const { return calls * double(size) / seconds / 1e9; }
};

std::function<void()> row(const std::string& what, Payload& payload) {
  if (what == "unmask")
    return [&] { unmask(payload.from, payload.from, payload.size, 0x12345678); };
  if (what == "unmask-to")
    return [&] { unmask(payload.to, payload.from, payload.size, 0x12345678); };
  return [&] {
    if (!is_utf8({payload.from, payload.size})) abort();
  };
}

}  // namespace

int main(int count, char** words) {
  std::string what = count == 4 ? words[1] : "";
  size_t size = count == 4 ? strtoul(words[2], nullptr, 10) : 0;
  double turn_seconds = count == 4 ? strtod(words[3], nullptr) / 1000 / (2 * kTurns) : 0;
  bool text = kTexts.count(what);
  if (!size || turn_seconds <= 0 || !(text || what == "unmask" || what == "unmask-to")) {
    fprintf(stderr,
            "usage: bytes unmask|unmask-to|utf8-ascii|utf8-latin|utf8-cjk|utf8-emoji|"
            "utf8-mixed SIZE MILLISECONDS\n");
    return 2;
  }
  Payload payload(text ? kTexts.at(what) : kAscii, size);
  Side ours{row(what, payload)}, copy{[&] {
    memcpy(payload.to, payload.from, payload.size);
    asm volatile("" : : "r"(payload.to) : "memory");
  }};
  // Asking for the time costs as much as copying some ten KB.
  int batch = int(std::max<size_t>(1, (4 << 20) / size));
  ours.turn(turn_seconds, batch), copy.turn(turn_seconds, batch);
  ours.calls = ours.seconds = copy.calls = copy.seconds = 0;
  for (int i = 0; i < kTurns; i++) ours.turn(turn_seconds, batch), copy.turn(turn_seconds, batch);
  printf("gb_s=%.3f memcpy_gb_s=%.3f ratio=%.4f\n", ours.gb_s(size), copy.gb_s(size),
         ours.gb_s(size) / copy.gb_s(size));
}
