// What a child knows of publications that may reach it in two ways, through Redis and through this
// server's memory, so that subscribers get each once. One thread.
#pragma once
#include <algorithm>
#include <deque>
#include <optional>
#include <unordered_map>

#include "src/pubsub/publication.h"

namespace mws {

// The highest number of each process, of those that were noted. Where a process's publications come
// in order, that tells all of them. Of the processes that were heard of last.
class NumbersSoFar {
 public:
  static constexpr size_t kMost = 4096;  // processes
  void note(const PublicationOrigin& origin) {
    auto [at, is_new] = highest_.try_emplace(origin.process, origin.number);
    if (!is_new) {
      at->second = std::max(at->second, origin.number);
      return;
    }
    order_.push_back(origin.process);
    if (order_.size() <= kMost) return;
    highest_.erase(order_.front());
    order_.pop_front();
  }
  bool has(const PublicationOrigin& origin) const {
    auto at = highest_.find(origin.process);
    return at != highest_.end() && origin.number <= at->second;
  }

 private:
  std::unordered_map<uint64_t, uint64_t> highest_;
  std::deque<uint64_t> order_;
};

// The provisional ids with which publications were told, of the last so many; and which ids were
// provisional.
class ToldHere {
 public:
  static constexpr size_t kMost = 65536;  // publications
  static constexpr size_t kMostSpans = 64;
  // Provisional ids follow each other closely: they count up from where the connection broke.
  static constexpr uint64_t kOneSpan = 10'000;

  void note(const PublicationOrigin& origin, uint64_t id) {
    if (ids_.try_emplace(origin, id).second) order_.push_back(origin);
    if (order_.size() > kMost) {
      ids_.erase(order_.front());
      forgotten_.note(order_.front());
      order_.pop_front();
    }
    for (Span& span : spans_)
      if (id + kOneSpan >= span.first && id <= span.last + kOneSpan) {
        span.first = std::min(span.first, id);
        span.last = std::max(span.last, id);
        return;
      }
    spans_.push_back({id, id});
    if (spans_.size() > kMostSpans) spans_.pop_front();
  }
  // 0: it was not told, or has its final id only. recorded: the provisional id that its record
  // names, if any, which counts where more was told than is known here: outboxes hold the oldest.
  uint64_t id_of(const PublicationOrigin& origin, uint64_t recorded) const {
    auto at = ids_.find(origin);
    if (at != ids_.end()) return at->second;
    return forgotten_.has(origin) ? recorded : 0;
  }
  struct Span {
    uint64_t first, last;
  };
  std::optional<Span> span_of(uint64_t id) const {
    for (const Span& span : spans_)
      if (id >= span.first && id <= span.last) return span;
    return std::nullopt;
  }

 private:
  struct Hash {
    size_t operator()(const PublicationOrigin& of) const {
      return size_t(of.process ^ of.number * 0x9e3779b97f4a7c15u);
    }
  };
  struct Same {
    bool operator()(const PublicationOrigin& a, const PublicationOrigin& b) const {
      return a.process == b.process && a.number == b.number;
    }
  };
  std::unordered_map<PublicationOrigin, uint64_t, Hash, Same> ids_;
  std::deque<PublicationOrigin> order_;
  std::deque<Span> spans_;
  NumbersSoFar forgotten_;
};

}  // namespace mws
