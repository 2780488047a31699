// Close codes, RFC 6455 §7.4.
#pragma once
#include <cstddef>
#include <cstdint>

namespace mws {

constexpr uint16_t kCloseGoingAway = 1001;
constexpr uint16_t kCloseNoCode = 1005;  // §7.1.5: the close frame carried none; never on the wire
constexpr uint16_t kCloseAbnormal = 1006;  // §7.1.5: no close frame arrived; never on the wire
constexpr uint16_t kClosePolicy = 1008;
constexpr uint16_t kCloseInternalError = 1011;
constexpr uint16_t kCloseServiceRestart = 1012;
constexpr uint16_t kCloseTryAgainLater = 1013;
constexpr uint16_t kCloseTlsFailed = 1015;  // §7.4.1: no handshake of TLS; never on the wire
constexpr size_t kMaxCloseReason = 123;     // bytes; what a control frame holds beside the code

// Whether an endpoint may put the code into a close frame: those that §7.4.1 defines for it, those
// registered with IANA since, and the ranges of §7.4.2 for libraries and applications.
constexpr bool may_be_sent(uint16_t code) {
  return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
         (code >= 3000 && code <= 4999);
}

// Whether a client's close frame may carry the code. allows_reserved: those too that are reserved
// for future versions of the protocol and its extensions (§7.4.2), but none that only describes an
// end (§7.4.1).
constexpr bool may_arrive(uint16_t code, bool allows_reserved) {
  bool describes_end = code == kCloseNoCode || code == kCloseAbnormal || code == kCloseTlsFailed;
  return may_be_sent(code) || (allows_reserved && code >= 1000 && code < 3000 && !describes_end);
}

}  // namespace mws
