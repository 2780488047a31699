// Who may connect from a browser, RFC 6455 §10.2 and RFC 6454. Pure functions.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mws {

struct Origin {
  std::string scheme;  // lower case; empty in a rule that leaves it open
  std::string host;    // lower case; IPv6 in brackets
  uint16_t port = 0;   // 0 in a rule that leaves scheme and port open
  bool operator==(const Origin&) const = default;
};

// "scheme://host[:port]" as a browser sends it; the scheme's default port is filled in. Nothing for
// "null" and for whatever is no serialised origin: a path, user information, two origins.
std::optional<Origin> parse_origin(std::string_view text);

// "host[:port]" of a Host header, as an origin of the scheme.
std::optional<Origin> origin_of_host(std::string_view scheme, std::string_view host);

class OriginPolicy {
 public:
  // Adds what WebSocketOrigin allows: "same", "any", "null", "host", "host:port",
  // "scheme://host[:port]"; a host may start with "*." for any name below it. A bare host stands
  // for http and https on their default ports, "host:port" for both on that port. False if text is
  // none of these.
  bool allow(std::string_view text);

  // own is where the request was addressed to; origin the Origin header. A request without one does
  // not come from a browser and is allowed.
  bool allows(std::optional<std::string_view> origin, const std::optional<Origin>& own) const;

 private:
  bool any_ = false, same_ = false, null_ = false;
  std::vector<Origin> listed_;
};

}  // namespace mws
