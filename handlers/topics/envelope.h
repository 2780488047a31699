// What clients of the subprotocol topics.v1 send (docs/topics.md), read: bytes in, an envelope or
// an error out. It calls nothing but the JSON library. Memory: a message's own size, as nothing is
// kept of members that are not known.
#pragma once
#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "topic.h"

namespace topics {

inline constexpr size_t kMaxRef = 255;  // bytes
inline constexpr unsigned kMaxDepth = 16;
inline constexpr uint64_t kMaxInteger = (uint64_t(1) << 53) - 1;

struct Envelope {
  enum class Type : uint8_t { subscribe, unsubscribe, publish };
  Type type = Type::subscribe;
  std::string topic = {};
  std::optional<uint64_t> since = {}, last = {};  // one at most
  std::string data = {};                          // decoded
  bool binary = false, transient = false;
  nlohmann::json ref = nullptr;  // a text, an integer or null
};

struct Parsed {
  // With an error: topic and ref, as far as they can be read, for the answer.
  Envelope envelope;
  const char* error = nullptr;
};

// RFC 4648, section 4, padded and with zeroes for the bits that are left over; or nothing.
inline std::optional<std::string> from_base64(std::string_view text) {
  if (text.size() % 4) return std::nullopt;
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3);
  size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  uint32_t bits = 0;
  for (size_t i = 0; i < text.size() - padding; i++) {
    char c = text[i];
    int digit = c >= 'A' && c <= 'Z'   ? c - 'A'
                : c >= 'a' && c <= 'z' ? c - 'a' + 26
                : c >= '0' && c <= '9' ? c - '0' + 52
                : c == '+'             ? 62
                : c == '/'             ? 63
                                       : -1;
    if (digit < 0) return std::nullopt;
    bits = bits << 6 | uint32_t(digit);
    if (i % 4) bytes += char(bits >> (6 - i % 4 * 2) & 0xff);
  }
  if (padding && bits & (padding == 2 ? 15 : 3)) return std::nullopt;
  return bytes;
}

namespace detail {

enum Member : uint8_t { type, topic, since, last, data, encoding, transient, ref, unknown };

struct Rule {
  std::string_view name;
  const char* error;
};
inline constexpr std::array<Rule, unknown> kRules = {{
    {"type", "type is none of subscribe, unsubscribe and publish"},
    {"topic", "topic is not a text of 1 to 255 bytes"},
    {"since", "since is not an integer from 0 to 9007199254740991"},
    {"last", "last is not an integer from 0 to 9007199254740991"},
    {"data", "data is not a text"},
    {"encoding", "encoding is not base64"},
    {"transient", "transient is neither true nor false"},
    {"ref", "ref is neither a text of at most 255 bytes nor an integer of at most 53 bits"},
}};

// Hears from the JSON library what a message consists of.
class Reader final : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit Reader(Parsed& into) : to_(into.envelope), error_(into.error) {}

  bool null() override { return other(); }
  bool number_float(number_float_t, const string_t&) override { return other(); }
  bool binary(binary_t&) override { return other(); }
  bool boolean(bool value) override {
    if (here() != transient) return other();
    to_.transient = value;
    return true;
  }
  bool number_integer(number_integer_t value) override {
    if (here() != ref) return value == 0 ? number_unsigned(0) : other();
    if (value < -int64_t(kMaxInteger) || value > int64_t(kMaxInteger)) return other();
    to_.ref = value;
    return true;
  }
  bool number_unsigned(number_unsigned_t value) override {
    if (value > kMaxInteger) return other();
    switch (here()) {
      case since: to_.since = value; return true;
      case last: to_.last = value; return true;
      case ref: to_.ref = value; return true;
      default: return other();
    }
  }
  bool string(string_t& value) override {
    switch (here()) {
      case type: return take_type(value);
      case topic:
        return value.empty() || value.size() > kMaxTopic ? other() : take(to_.topic, value);
      case data: return take(to_.data, value);
      case encoding: return (to_.binary = value == "base64") || other();
      case ref:
        if (value.size() > kMaxRef) return other();
        to_.ref = std::move(value);
        return true;
      default: return other();
    }
  }
  bool start_object(size_t) override { return begin(depth_ == 0); }
  bool start_array(size_t) override { return begin(false); }
  bool end_object() override { return depth_--; }
  bool end_array() override { return depth_--; }
  bool key(string_t& name) override {
    if (depth_ != 1) return true;
    member_ = unknown;
    for (size_t i = 0; i < kRules.size(); i++)
      if (kRules[i].name == name) member_ = Member(i);
    if (member_ == unknown) return true;
    if (std::exchange(has_[member_], true)) {
      note("a member is there twice");
      member_ = unknown;
    }
    return true;
  }
  bool parse_error(size_t, const std::string&, const nlohmann::json::exception&) override {
    return fail("not JSON");
  }

  // After the last byte: what is missing or does not go together; or nullptr.
  const char* finish() {
    if (!has_[type]) return kRules[type].error;
    if (!has_[topic]) return kRules[topic].error;
    if (has_[since] && has_[last]) return "since and last are both there";
    if (to_.type != Envelope::Type::publish) return nullptr;
    if (!has_[data]) return kRules[data].error;
    if (!to_.binary) return nullptr;
    auto bytes = from_base64(to_.data);
    if (!bytes) return "data is not Base64";
    to_.data = std::move(*bytes);
    return nullptr;
  }

 private:
  Member here() const { return depth_ == 1 ? member_ : unknown; }
  // The first error counts.
  void note(const char* why) {
    if (!error_) error_ = why;
  }
  bool fail(const char* why) {
    note(why);
    return false;
  }
  // A value of a kind that is not for the member; nothing is said of what is in unknown ones.
  // Reading goes on, for what an answer needs.
  bool other() {
    if (!depth_) return fail("not a JSON object");
    if (here() != unknown) note(kRules[here()].error);
    return true;
  }
  bool begin(bool outermost) {
    if (!outermost && !other()) return false;
    return ++depth_ <= kMaxDepth || fail("nested too deeply");
  }
  bool take(std::string& into, string_t& value) {
    into = std::move(value);
    return true;
  }
  bool take_type(std::string_view name) {
    if (name == "subscribe") to_.type = Envelope::Type::subscribe;
    else if (name == "unsubscribe") to_.type = Envelope::Type::unsubscribe;
    else if (name == "publish") to_.type = Envelope::Type::publish;
    else return other();
    return true;
  }

  Envelope& to_;
  const char*& error_;
  unsigned depth_ = 0;
  Member member_ = unknown;
  std::array<bool, unknown> has_{};
};

}  // namespace detail

// Throws std::bad_alloc.
inline Parsed parse(std::string_view message) {
  Parsed parsed;
  detail::Reader reader(parsed);
  bool read = nlohmann::json::sax_parse(message.begin(), message.end(), &reader);
  if (!parsed.error) parsed.error = read ? reader.finish() : "not JSON";
  return parsed;
}

}  // namespace topics
