// What a line of WebSocketLog says, as JSON.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "src/engine/connection.h"
#include "src/httpd/module.h"

namespace mws {

enum class LogField : uint8_t {
  event,  // "start" or "end"
  id,
  unique_id,  // mod_unique_id's
  opened,
  address,
  user,
  server,
  location,
  path,
  subprotocol,
  extensions,
  tls,
  mooring,
  // Of the end only:
  closed,
  duration_seconds,
  code,
  reason,
  clean,
  cause,
  messages,
  bytes,
  most_buffered_bytes,
  round_trip_seconds,
};
using LogFields = std::vector<LogField>;
const LogFields& all_log_fields();
const char* name_of(LogField field);
std::optional<LogField> log_field_of(std::string_view name);

struct ConnectionEnd {
  uint16_t code;
  std::string_view reason;
  bool clean;
};

// So much a pipe takes whole or not at all, whoever else writes to it.
constexpr size_t kMaxLogLine = 4096;  // bytes, with its end

// One line with its end. Longer texts are cut off where it would be too long. For a connection of a
// handler, on its loop; end: nullptr at its start. Throws std::bad_alloc.
std::string connection_line(const Connection& connection, std::string_view unique_id,
                            apr_time_t opened, const LogFields& fields, const ConnectionEnd* end);

}  // namespace mws
