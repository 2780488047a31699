#include "src/httpd/handler_site.h"

#include <new>

#include "src/base/connection_id.h"
#include "src/base/log_limit.h"
#include "src/engine/connection.h"
#include "src/handler/peer.h"
#include "src/httpd/connection_log.h"
#include "src/httpd/log.h"
#include "src/httpd/metrics.h"

namespace mws {

namespace {

void log(LogLevel level, const char* code, const Connection& connection, const char* what,
         const std::string& left_out) {
  std::string line = code;
  line += ": [" + name_of(connection) + "] " + what + left_out;
  server_log().write(level, line);
}

}  // namespace

std::string name_of(const Connection& connection) {
  auto& peer = static_cast<const ws_connection&>(*connection.attachment());
  ws_text client = peer.facts.fact(WS_REMOTE_ADDRESS);
  return "client " + std::string(client.data ? client.data : "unknown") + ", connection " +
         id_text(connection.id()).data();
}

// What it keeps is a HandlerRecord, or nothing.
void HandlerSite::connection_opened(const Connection& connection) const noexcept {
  if (auto* record = static_cast<HandlerRecord*>(connection.record()))
    log_start(connection, *record);
}

void HandlerSite::connection_ended(const Connection& connection, uint16_t code,
                                   std::string_view reason, bool clean) const noexcept {
  if (auto* record = static_cast<HandlerRecord*>(connection.record()))
    log_end(connection, *record, {code, reason, clean});
}

void HandlerSite::message_took(uint64_t ns) const noexcept {
  process_counters(number).handler.any_thread_add(ns);
}

// A line each 10 s at most, of a process and a limit.
void HandlerSite::limit_reached(const Connection& connection, Cause cause) const noexcept {
  static LogLimit said[kCauses];
  try {
    std::string left_out;
    if (!said[size_t(cause)].allows(left_out)) return;
    using enum LogLevel;
    const Connection& c = connection;
    switch (cause) {
      case Cause::ping:
        return log(info, "WS310", c, "let go: no sign of life after a ping", left_out);
      case Cause::idle:
        return log(info, "WS311", c, "closed with 1001: no message for too long", left_out);
      case Cause::lifetime:
        return log(info, "WS312", c, "closed with 1001: it was open for long enough", left_out);
      case Cause::rate:
        return log(info, "WS313", c, "sends more messages or bytes than it may", left_out);
      case Cause::control_rate:
        return log(info, "WS314", c, "closed with 1008: too many control frames", left_out);
      case Cause::slow:
        return log(info, "WS315", c, "reads too slowly: more than WebSocketSendBuffer waits for it",
                   left_out);
      case Cause::memory:
        return log(warning, "WS316", c,
                   "let go, as most waits for it: more than WebSocketMaxBuffered waits in all",
                   left_out);
      default: return;  // the others are no limit
    }
  } catch (const std::bad_alloc&) {
    // No memory left to log.
  }
}

}  // namespace mws
