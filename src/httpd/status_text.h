// What the forms of the status share.
#pragma once
#include <charconv>
#include <string>

#include "src/base/counters.h"

namespace mws {

constexpr const char* kDirectionNames[] = {"received", "sent"};  // Counters::Direction
constexpr const char* kKindNames[] = {"text", "binary"};         // Counters::Kind

inline double seconds(uint64_t ns) { return double(ns) / 1e9; }

// As short as it can be read back; fit for JSON and for Prometheus.
inline void append_number(std::string& to, double number) {
  char digits[32];
  to.append(digits, std::to_chars(digits, digits + sizeof digits, number).ptr);
}

inline uint64_t sum_of(const auto& counters) {
  uint64_t sum = 0;
  for (const Counter& each : counters) sum += each.value();
  return sum;
}

// What becomes of a child: "serving" new clients too, "leaving" when its own have left, "draining".
inline const char* state_of(const auto& child) {
  return child.drains ? "draining" : child.leaves ? "leaving" : "serving";
}

}  // namespace mws
