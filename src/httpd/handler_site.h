// The location of a handler, as its connections know it: what they count, and which lines about
// them go into the error log and into that of WebSocketLog.
#pragma once
#include <string>

#include "src/engine/site.h"

namespace mws {

class HandlerSite final : public Site {
 public:
  using Site::Site;
  void connection_opened(const Connection& connection) const noexcept override;
  void connection_ended(const Connection& connection, uint16_t code, std::string_view reason,
                        bool clean) const noexcept override;
  void message_took(uint64_t ns) const noexcept override;
  void limit_reached(const Connection& connection, Cause cause) const noexcept override;
};

// "client 192.0.2.1, connection 0005f3c2a1b4d6e7"; for connections of handlers.
std::string name_of(const Connection& connection);

}  // namespace mws
