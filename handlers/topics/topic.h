// Which topics there are, and who may use which.
#pragma once
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace topics {

inline constexpr size_t kMaxTopic = 255;  // bytes

// RFC 3629, section 4.
inline bool is_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    auto byte = [&](size_t at) { return at < text.size() ? uint8_t(text[at]) : uint8_t(0); };
    uint8_t first = byte(i), second = byte(i + 1);
    size_t size = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (size > 1) {
      if (first < 0xc2 || first > 0xf4) return false;
      uint8_t lowest = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
      uint8_t highest = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
      if (second < lowest || second > highest) return false;
    }
    for (size_t k = 2; k < size; k++)
      if (byte(i + k) >> 6 != 2) return false;
    i += size;
  }
  return true;
}

inline bool is_topic(std::string_view name) {
  return !name.empty() && name.size() <= kMaxTopic && is_utf8(name);
}

// What WebSocketParam publish or subscribe says: "on", "off", or topics separated by blanks, in
// which * stands for any characters and {user} for the authenticated user.
class Rules {
 public:
  // name: of the parameter, for what is thrown of a text that is wrong: std::invalid_argument.
  Rules(const std::string& name, std::string_view text) {
    if (text == "on") all_ = true;
    if (text == "on" || text == "off") return;
    for (size_t at = 0; (at = text.find_first_not_of(" \t", at)) != text.npos;) {
      size_t end = std::min(text.find_first_of(" \t", at), text.size());
      patterns_.emplace_back(text.substr(at, end - at));
      check(name, patterns_.back());
      at = end;
    }
    if (patterns_.empty()) throw wrong(name, "it is empty");
  }

  bool allow(std::string_view topic, std::optional<std::string_view> user) const {
    for (const std::string& pattern : patterns_)
      if (matches(pattern, topic, user)) return true;
    return all_;
  }

 private:
  static constexpr std::string_view kUser = "{user}";

  static std::invalid_argument wrong(const std::string& name, const std::string& why) {
    return std::invalid_argument(
        name +
        " is on, off, or topics separated by blanks, such as \"news chat/* users/{user}\": " + why);
  }
  static void check(const std::string& name, std::string_view pattern) {
    if (pattern == "on" || pattern == "off")
      throw wrong(name, "\"" + std::string(pattern) + "\" is no topic here");
    if (!is_topic(pattern)) throw wrong(name, "a topic is UTF-8 of at most 255 bytes");
    for (size_t at = 0; (at = pattern.find('{', at)) != pattern.npos; at++)
      if (pattern.substr(at, kUser.size()) != kUser)
        throw wrong(name, "behind { comes user} in \"" + std::string(pattern) + "\"");
  }

  // A piece of a pattern, between two *, for this user; nothing without one that it needs.
  static std::optional<std::string> literal(std::string_view piece,
                                            std::optional<std::string_view> user) {
    std::string text(piece);
    for (size_t at = 0; (at = text.find(kUser, at)) != text.npos; at += user->size()) {
      if (!user || user->empty()) return std::nullopt;
      text.replace(at, kUser.size(), *user);
    }
    return text;
  }

  // The first piece begins the topic, the last one ends it, the others come in between, each as
  // early as possible.
  static bool matches(std::string_view pattern, std::string_view topic,
                      std::optional<std::string_view> user) {
    for (bool first = true;; first = false) {
      size_t star = pattern.find('*');
      auto piece = literal(pattern.substr(0, star), user);
      if (!piece) return false;
      if (star == pattern.npos) return first ? topic == *piece : topic.ends_with(*piece);
      size_t at = first ? (topic.starts_with(*piece) ? 0 : topic.npos) : topic.find(*piece);
      if (at == topic.npos) return false;
      topic.remove_prefix(at + piece->size());
      pattern.remove_prefix(star + 1);
    }
  }

  bool all_ = false;
  std::vector<std::string> patterns_;
};

}  // namespace topics
