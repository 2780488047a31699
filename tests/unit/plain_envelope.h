// The envelopes of topics.v1 once more, slow and easy to check: the whole document in memory, and
// all that can be wrong looked for afterwards.
#pragma once
#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "handlers/topics/envelope.h"

namespace mws::test {

using nlohmann::json;

// Bit by bit.
inline bool plain_base64(std::string_view text, std::string& bytes) {
  static const std::string digits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bits;
  size_t end = text.size();
  while (end && text[end - 1] == '=' && text.size() - end < 2) end--;
  for (char c : text.substr(0, end)) {
    size_t digit = digits.find(c);
    if (digit == digits.npos) return false;
    for (int bit = 5; bit >= 0; bit--) bits += char('0' + (digit >> bit & 1));
  }
  size_t whole = bits.size() / 8 * 8;
  for (size_t i = 0; i < whole; i += 8) bytes += char(std::stoi(bits.substr(i, 8), nullptr, 2));
  return text.size() % 4 == 0 && bits.size() - whole < 6 && bits.find('1', whole) == bits.npos;
}

inline bool is_plain_integer(const json& value, int64_t lowest) {
  constexpr int64_t most = (int64_t(1) << 53) - 1;
  if (value.is_number_unsigned()) return value.get<uint64_t>() <= uint64_t(most);
  return value.is_number_integer() && value.get<int64_t>() >= lowest;
}
inline bool is_plain_text(const json& value, size_t most) {
  return value.is_string() && value.get_ref<const std::string&>().size() <= most;
}

// True, and the envelope, if it is one.
inline bool plain_parse(const std::string& text, topics::Envelope& to) {
  std::set<std::string> keys;
  bool wrong = false;
  int deepest = 0;
  json all = json::parse(
      text,
      [&](int depth, json::parse_event_t event, json& value) {
        using Event = json::parse_event_t;
        static const std::set<std::string> known = {"type", "topic",    "since",     "last",
                                                    "data", "encoding", "transient", "ref"};
        if (event == Event::key && depth == 1 && known.contains(value.get<std::string>()))
          wrong = wrong || !keys.insert(value.get<std::string>()).second;
        if (event == Event::object_start || event == Event::array_start)
          deepest = std::max(deepest, depth + 1);
        return true;
      },
      false);
  if (all.is_discarded() || !all.is_object() || wrong || deepest > 16) return false;
  auto has = [&](const char* name) { return all.contains(name); };
  static const std::string types[] = {"subscribe", "unsubscribe", "publish"};
  size_t type = size_t(std::find(types, types + 3, all.value("type", json())) - types);
  if (type == 3 || !has("topic") || !is_plain_text(all["topic"], 255) || all["topic"] == "")
    return false;
  to.type = topics::Envelope::Type(type);
  to.topic = all["topic"];
  for (auto [name, into] : {std::pair{"since", &to.since}, {"last", &to.last}})
    if (has(name) && !is_plain_integer(all[name], 0)) return false;
    else if (has(name)) *into = all[name].get<uint64_t>();
  if (to.since && to.last) return false;
  if (has("data") && !all["data"].is_string()) return false;
  if (has("encoding") && all["encoding"] != "base64") return false;
  if (has("transient") && !all["transient"].is_boolean()) return false;
  if (has("ref") && !is_plain_text(all["ref"], 255) &&
      !is_plain_integer(all["ref"], -((int64_t(1) << 53) - 1)))
    return false;
  to.binary = has("encoding");
  to.transient = all.value("transient", false);
  if (has("ref")) to.ref = all["ref"];
  to.data = all.value("data", "");
  if (type != 2) return true;
  std::string bytes;
  if (to.binary && !plain_base64(std::exchange(to.data, ""), to.data)) return false;
  return has("data");
}

}  // namespace mws::test
