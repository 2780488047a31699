// A publication as subscribers get it: framed once for all of them. Any thread.
#pragma once
#include <memory>
#include <mutex>
#include <string>

#include "src/protocol/prepared_message.h"
#include "src/pubsub/publication.h"

namespace mws {

enum class Form : uint8_t {
  bare,       // the message as it was published
  enveloped,  // with its topic and id, as message of the subprotocol topics.v1
};

class Delivery {
 public:
  explicit Delivery(const Publication& publication);

  const std::string topic;
  const uint64_t id, provisional_id;  // see Publication
  bool is_provisional() const { return provisional_id && provisional_id == id; }
  size_t bytes() const { return bare_->payload().size(); }
  // Throws std::bad_alloc.
  std::shared_ptr<const PreparedMessage> message(Form form) const;

 private:
  const std::shared_ptr<const PreparedMessage> bare_;
  mutable std::mutex lock_;
  mutable std::shared_ptr<const PreparedMessage> enveloped_;  // under lock_
};

// As a JSON string. The text is UTF-8.
void append_quoted(std::string& to, std::string_view text);

// The envelope, JSON (docs/topics.md): {"type":"message","topic":T,"id":N,"data":D}, where D is the
// text, or for binary messages Base64 and "encoding":"base64" follows.
std::string envelope(std::string_view topic, uint64_t id, Opcode type, Bytes payload);

}  // namespace mws
