// A script that session_play.h reads: the session does the same as the plain one, whatever is read
// at a time.
#include "tests/fuzz/session_play.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace mws;
  std::string plain = fuzz::Play<test::PlainSession>({data, size}, size).trace;
  fuzz::demand_same("the session", plain, fuzz::Play<Session>({data, size}, size).trace);
  fuzz::demand_same("byte by byte", plain, fuzz::Play<Session>({data, size}, 1).trace);
  return 0;
}
