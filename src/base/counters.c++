#include "src/base/counters.h"

#include <algorithm>

namespace mws {

size_t code_index(uint16_t code) {
  if (code >= 3000 && code < 5000) code = code < 4000 ? 3000 : 4000;
  return size_t(std::find(kCountedCodes.begin(), kCountedCodes.end(), code) -
                kCountedCodes.begin());
}

const char* name_of(Mooring mooring) {
  constexpr std::array<const char*, kMoorings> kNames = {"plain", "tls", "resident"};
  return kNames[size_t(mooring)];
}

const char* name_of(Cause cause) {
  constexpr std::array<const char*, kCauses> kNames = {
      "client",       "handler", "protocol", "message_size", "fragments", "lost",
      "drain",        "stop",    "ping",     "idle",         "lifetime",  "rate",
      "control_rate", "slow",    "memory",   "admin",        "died"};
  return kNames[size_t(cause)];
}

const char* name_of(Refusal refusal) {
  constexpr std::array<const char*, kRefusals> kNames = {
      "request",  "origin",  "handler",        "connections", "resident",
      "location", "address", "handshake_rate", "descriptors", "resources"};
  return kNames[size_t(refusal)];
}

std::string name_of_code(size_t index) {
  if (index == kCountedCodes.size()) return "other";
  uint16_t code = kCountedCodes[index];
  return code < 3000 ? std::to_string(code) : std::to_string(code / 1000) + "xxx";
}

}  // namespace mws
