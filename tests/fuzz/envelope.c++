// What a client of topics.v1 sends is read as the plain reader reads it.
//
// The input: the message.
#include "handlers/topics/envelope.h"

#include "src/protocol/utf8.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/plain_envelope.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace mws;
  fuzz::Copy message({data, size});
  if (!is_utf8(message.bytes())) return 0;  // the server lets no such text through
  topics::Envelope plain, got;
  topics::Parsed parsed = topics::parse(message.text());
  bool good = test::plain_parse(std::string(message.text()), plain);
  fuzz::demand(good == !parsed.error, parsed.error ? parsed.error : "an error is found");
  got = std::move(parsed.envelope);
  fuzz::demand(got.topic.size() <= 255, "a topic is short enough, also beside an error");
  if (!good) return 0;
  fuzz::demand(got.type == plain.type && got.since == plain.since && got.last == plain.last, "how");
  fuzz::demand(got.binary == plain.binary && got.transient == plain.transient, "the flags");
  fuzz::demand_same("the topic", plain.topic, got.topic);
  fuzz::demand_same("the data", plain.data, got.data);
  fuzz::demand_same("the ref", plain.ref.dump(), got.ref.dump());
  return 0;
}
