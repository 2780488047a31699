// A script that session_play.h reads: the session does the same as the plain one, whatever is read
// at a time, whether its messages come in pieces, and wherever it is interrupted.
#include "tests/fuzz/session_play.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace mws;
  Bytes script(data, size);
  std::string plain = fuzz::Play<test::PlainSession>(script).trace;
  auto demand_same = [&](const char* what, const fuzz::Ways& ways) {
    fuzz::demand_same(what, plain, fuzz::Play<Session>(script, ways).trace);
  };
  demand_same("the session", {});
  demand_same("byte by byte", {.longest_read = 1});
  demand_same("interrupted", {.interrupts = true, .inflate_at_most = 1});
  demand_same("in pieces", {.streams = true});
  demand_same("in pieces, byte by byte", {.longest_read = 1, .streams = true});
  demand_same("in pieces, interrupted",
              {.streams = true, .interrupts = true, .inflate_at_most = 100});
  return 0;
}
