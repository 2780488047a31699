// A connection's id as it is written everywhere: in logs, in notes, on the status page.
#pragma once
#include <array>
#include <cstdint>

namespace mws {

// 16 hexadecimal digits and a zero byte.
inline std::array<char, 17> id_text(uint64_t connection_id) {
  std::array<char, 17> text{};
  for (size_t i = 0; i < 16; i++) text[i] = "0123456789abcdef"[connection_id >> (60 - 4 * i) & 15];
  return text;
}

}  // namespace mws
