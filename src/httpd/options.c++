#include "src/httpd/options.h"

#include <apr_lib.h>

#include <charconv>

namespace mws {

bool read_bytes(std::string_view text, uint64_t lowest, uint64_t highest, uint64_t& into) {
  uint64_t number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string_view unit(end, size_t(text.data() + text.size() - end));
  int shift = unit.empty() ? 0 : unit == "K" ? 10 : unit == "M" ? 20 : unit == "G" ? 30 : -1;
  if (error != std::errc() || shift < 0 || number > (uint64_t(1) << 40) >> shift) return false;
  number <<= shift;
  if (number < lowest || number > highest) return false;
  into = number;
  return true;
}

bool read_time(const char* text, uint64_t lowest_ms, uint64_t highest_ms, uint64_t& into_ms) {
  apr_interval_time_t time;
  if (!apr_isdigit(*text) || ap_timeout_parameter_parse(text, &time, "s") || time < 0) return false;
  uint64_t ms = uint64_t(apr_time_as_msec(time));
  if (ms < lowest_ms || ms > highest_ms) return false;
  into_ms = ms;
  return true;
}

const char* value_of(const char* option, std::string_view name) {
  return std::string_view(option).starts_with(name) && option[name.size()] == '='
             ? option + name.size() + 1
             : nullptr;
}

}  // namespace mws
