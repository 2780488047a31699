#include "src/pubsub/delivery.h"

#include <cstdio>

namespace mws {

void append_quoted(std::string& to, std::string_view text) {
  to += '"';
  for (char each : text) {
    switch (each) {
      case '"': to += "\\\""; break;
      case '\\': to += "\\\\"; break;
      case '\n': to += "\\n"; break;
      case '\r': to += "\\r"; break;
      case '\t': to += "\\t"; break;
      default:
        if (uint8_t(each) >= 0x20) {
          to += each;
        } else {
          char escaped[8];
          snprintf(escaped, sizeof escaped, "\\u%04x", unsigned(each));
          to += escaped;
        }
    }
  }
  to += '"';
}

namespace {

void append_base64(std::string& to, Bytes bytes) {
  static constexpr char kDigits[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t i = 0; i < bytes.size(); i += 3) {
    size_t left = bytes.size() - i;
    uint32_t three = uint32_t(bytes[i] << 16) | uint32_t(left > 1 ? bytes[i + 1] << 8 : 0) |
                     uint32_t(left > 2 ? bytes[i + 2] : 0);
    to += kDigits[three >> 18];
    to += kDigits[three >> 12 & 63];
    to += left > 1 ? kDigits[three >> 6 & 63] : '=';
    to += left > 2 ? kDigits[three & 63] : '=';
  }
}

}  // namespace

std::string envelope(std::string_view topic, uint64_t id, Opcode type, Bytes payload) {
  std::string json = "{\"type\":\"message\",\"topic\":";
  json.reserve(64 + topic.size() + payload.size() * (type == Opcode::text ? 1 : 2));
  append_quoted(json, topic);
  json += ",\"id\":" + std::to_string(id) + ",\"data\":";
  if (type == Opcode::text) {
    append_quoted(json, text_of(payload));
  } else {
    json += '"';
    append_base64(json, payload);
    json += "\",\"encoding\":\"base64\"";
  }
  json += '}';
  return json;
}

Delivery::Delivery(const Publication& publication)
    : topic(publication.topic),
      id(publication.id),
      provisional_id(publication.provisional_id),
      bare_(std::make_shared<PreparedMessage>(publication.type, publication.payload,
                                              publication.may_compress)) {}

std::shared_ptr<const PreparedMessage> Delivery::message(Form form) const {
  if (form == Form::bare) return bare_;
  std::lock_guard hold(lock_);
  if (!enveloped_)
    enveloped_ = std::make_shared<PreparedMessage>(
        Opcode::text, bytes_of(envelope(topic, id, bare_->type(), bare_->payload())),
        bare_->may_compress());
  return enveloped_;
}

}  // namespace mws
