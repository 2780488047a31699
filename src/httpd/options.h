// Reading the arguments of directives.
#pragma once
#include <cstdint>
#include <optional>
#include <string_view>

#include "src/httpd/module.h"

namespace mws {

// Numbers, also of bytes: 65536, 64K, 16M, 1G. False, and nothing is set, if it is none or out of
// range.
bool read_bytes(std::string_view text, uint64_t lowest, uint64_t highest, uint64_t& into);
// Times: 30, 500ms, 2min; without a unit in seconds. Likewise.
bool read_time(const char* text, uint64_t lowest_ms, uint64_t highest_ms, uint64_t& into_ms);
// "name=value": the value, if the name is this one.
const char* value_of(const char* option, std::string_view name);

}  // namespace mws
