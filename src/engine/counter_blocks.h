// Blocks of counters in memory that processes share. A block has one writer at a time, which adds
// to it without locks; what it has counted stays when it is gone, and the next writer that counts
// the same goes on with it. Blocks are taken in order and never become unused again.
//
// A process that is killed at any point harms nobody: its blocks are as they were, and whoever
// learns of its end calls leave. Any thread.
#pragma once
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <span>

#include "src/base/counters.h"

namespace mws {

// Counters and LoopCounters are made of nothing but Counter.
template <class T>
std::span<Counter> all_counters(T& counters) {
  static_assert(std::is_standard_layout_v<T> && sizeof(T) % sizeof(Counter) == 0);
  return {reinterpret_cast<Counter*>(&counters), sizeof(T) / sizeof(Counter)};
}

// What becomes of what is there when its writer is gone: connections that were open have ended.
inline void end_of(Counters& counters) {
  constexpr uint16_t kAbnormal = 1006;
  for (const Counter& open : counters.open) {
    counters.causes[size_t(Cause::died)].any_thread_add(open.value());
    counters.closed[code_index(kAbnormal)].any_thread_add(open.value());
  }
}
inline void end_of(LoopCounters&) {}

// What is there now, and goes with the writer.
inline std::span<Counter> gauges_of(Counters& counters) {
  return all_counters(counters).first(offsetof(Counters, opened) / sizeof(Counter));
}
inline std::span<Counter> gauges_of(LoopCounters&) { return {}; }

// Adds up; sum is the caller's alone.
template <class T>
void add_counters(T& sum, const T& counters, bool with_gauges) {
  auto from = all_counters(const_cast<T&>(counters)), to = all_counters(sum);
  size_t first = with_gauges ? 0 : gauges_of(sum).size();
  for (size_t i = first; i < to.size(); i++) to[i].add(from[i].value());
}

template <class T>
class Blocks {
 public:
  static size_t bytes_for(size_t count) { return count * (sizeof(Place) + sizeof(Block)) + kAlign; }
  // The memory is zeroes before its first use, and starts at a multiple of kAlign.
  Blocks(void* memory, size_t count)
      : places_(static_cast<Place*>(memory)),
        blocks_(reinterpret_cast<Block*>(static_cast<std::byte*>(memory) +
                                         (count * sizeof(Place) + kAlign - 1) / kAlign * kAlign)),
        count_(count) {}

  // A block for what has this number; nullptr if all are in use.
  T* take(uint32_t number, pid_t owner) {
    for (size_t i = 0; i < count_;) {
      uint64_t is = places_[i].load(std::memory_order_relaxed);
      if (is && is != place(number, 0)) i++;
      else if (places_[i].compare_exchange_strong(is, place(number, owner))) return &blocks_[i].of;
    }
    return nullptr;
  }
  // By its owner. Killed at any point of it, it still is the owner.
  void give_back(T& block) {
    size_t i = size_t(reinterpret_cast<Block*>(&block) - blocks_);
    free(i, places_[i]);
  }
  // That process has no blocks any more.
  void leave(pid_t owner) {
    for (size_t i = 0; i < count_; i++) {
      uint64_t is = places_[i];
      if (!is) return;
      if (pid_t(is) != owner && pid_t(is) != -owner) continue;
      // Several may see that it has ended: one of them frees the block, before the next takes it.
      if (!places_[i].compare_exchange_strong(is, place(number_of(is), -getpid()))) continue;
      end_of(blocks_[i].of);
      free(i, is);
    }
  }
  // each(number, owner, block) for those that have ever been in use; owner 0: none.
  template <class Each>
  void for_each(Each each) const {
    for (size_t i = 0; i < count_; i++) {
      uint64_t is = places_[i];
      if (!is) return;
      each(number_of(is), std::max(pid_t(is), 0), blocks_[i].of);
    }
  }

 private:
  static constexpr size_t kAlign = 64;
  using Place =
      std::atomic<uint64_t>;  // number + 1 << 32 | owner, negative: who frees it; 0: never used
  struct alignas(kAlign) Block {
    T of;
  };

  static uint64_t place(uint32_t number, pid_t owner) {
    return uint64_t(number + 1) << 32 | uint32_t(owner);
  }
  static uint32_t number_of(uint64_t place) { return uint32_t(place >> 32) - 1; }
  void free(size_t i, uint64_t was) {
    for (Counter& gauge : gauges_of(blocks_[i].of)) gauge.reset();
    places_[i] = place(number_of(was), 0);
  }

  Place* places_;
  Block* blocks_;
  size_t count_;
};

}  // namespace mws
