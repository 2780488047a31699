// What comes from Redis: records and messages are those that a plain reader finds, and are written
// as they were read; a channel is that of a topic or of none.
//
// The input: 0 for a record, 1 for a message, else the name of a channel; and its bytes.
#include "src/pubsub/redis_record.h"

#include "tests/fuzz/fuzz.h"
#include "tests/unit/plain_redis_record.h"

namespace mws::fuzz {
namespace {

void compare(const std::optional<test::PlainRecord>& plain,
             const std::optional<Publication>& publication) {
  demand(plain.has_value() == publication.has_value(), "both read it, or none");
  if (!plain) return;
  demand(plain->id == publication->id, "the same id");
  demand((plain->flags & 1) == (publication->type == Opcode::binary), "the same type");
  demand(!(plain->flags & 2) == publication->may_compress, "the same of compression");
  demand(!(plain->flags & 4) == publication->kept, "the same of the history");
  demand(plain->process == publication->origin.process, "the same process");
  demand(plain->number == publication->origin.number, "the same number");
  demand(plain->provisional_id == publication->provisional_id, "the same provisional id");
  demand_same("the payload", plain->payload, text_of(publication->payload));
}

}  // namespace
}  // namespace mws::fuzz

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace mws;
  fuzz::Input input{{data, size}};
  int what = input.next();
  fuzz::Copy bytes(input.rest);
  if (what == 0) {
    auto publication = decode_redis_record(bytes.text());
    fuzz::compare(test::plain_record(std::string(bytes.text())), publication);
    if (publication)
      fuzz::demand_same("written again", bytes.text(), encode_redis_record(*publication));
  } else if (what == 1) {
    fuzz::compare(test::plain_message(std::string(bytes.text())),
                  decode_redis_message(bytes.text()));
  } else {
    RedisNames names{"p:", uint32_t(what % 3)};
    auto topic = names.topic_of(bytes.text());
    if (topic) fuzz::demand_same("the channel", bytes.text(), names.channel(*topic));
    if (is_topic(bytes.text())) {
      auto again = names.topic_of(names.channel(bytes.text()));
      fuzz::demand_same("the topic", bytes.text(), again ? *again : "none");
    }
  }
  return 0;
}
