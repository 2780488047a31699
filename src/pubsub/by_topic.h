// Maps with a topic, or another name, as key.
#pragma once
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>

namespace mws {

// So that topics are looked up by views.
struct TopicHash {
  using is_transparent = void;
  size_t operator()(std::string_view topic) const { return std::hash<std::string_view>()(topic); }
};
template <class T>
using ByTopic = std::unordered_map<std::string, T, TopicHash, std::equal_to<>>;

}  // namespace mws
