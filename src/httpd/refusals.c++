#include "src/httpd/refusals.h"

#include <array>
#include <atomic>
#include <cerrno>
#include <system_error>

namespace mws {

namespace {

// Whether to say so now, and how many there were of that kind.
bool is_to_be_told(request_rec* r, Refusal refusal, unsigned& count) {
  constexpr apr_time_t kSilence = apr_time_from_sec(10);
  static std::array<std::atomic<apr_time_t>, kRefusals> said_at = {};
  static std::array<std::atomic<unsigned>, kRefusals> refused = {};
  auto& said = said_at[size_t(refusal)];
  count = ++refused[size_t(refusal)];
  apr_time_t before = said;
  return r->request_time - before > kSilence &&
         said.compare_exchange_strong(before, r->request_time);
}

}  // namespace

Refusal refusal_by(const std::exception& error) {
  auto* system = dynamic_cast<const std::system_error*>(&error);
  int code = system ? system->code().value() : 0;
  return code == EMFILE || code == ENFILE ? Refusal::descriptors : Refusal::resources;
}

void tell_no_room(request_rec* r, const NoRoom& reached) {
  unsigned count;
  if (!is_to_be_told(r, reached.refusal, count)) return;
  const char* limit = reached.limit.c_str();
  if (reached.refusal == Refusal::handshake_rate)
    ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r,
                  "WS208: opening handshakes come too fast: %s is exceeded (%u refused by this "
                  "child so far)",
                  limit, count);
  else
    ap_log_rerror(
        APLOG_MARK, APLOG_WARNING, 0, r,
        "WS204: no room for another WebSocket: %s is reached (%u refused by this child so far)",
        limit, count);
}

// Allocates nothing: it may be memory that is short.
void tell_no_room(request_rec* r, const std::exception& error) {
  unsigned count;
  if (is_to_be_told(r, refusal_by(error), count))
    ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r,
                  "WS205: no room for another WebSocket: %s (%u refused by this child so far)",
                  error.what(), count);
}

}  // namespace mws
