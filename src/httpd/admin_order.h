// What somebody wants of the server's connections: to see those that a filter means, or to close
// them. As JSON, the way it goes between children too. Needs nlohmann/json.
#pragma once
#include <sys/types.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "src/engine/connection.h"
#include "src/handler/peer.h"
#include "src/httpd/sites.h"

namespace mws {

using Json = nlohmann::json;

// What is wrong with it, for who has written it.
struct BadOrder {
  std::string text;
};

// Which connections of handlers are meant: those for which all that is set holds.
class Selection {
 public:
  // An object of texts; numbers may be such too. Throws BadOrder.
  explicit Selection(const Json& filter);
  // On the connection's loop.
  bool matches(const Connection& connection, const ws_connection& peer, const SiteName& site) const;

  const std::optional<pid_t>& child() const { return child_; }

 private:
  void read(const std::string& key, const Json& value);

  std::optional<uint64_t> id_;
  std::optional<pid_t> child_;
  std::optional<std::string> server_, location_, address_, user_;
  std::optional<Mooring> mooring_;
  uint64_t min_age_ms_ = 0, min_buffered_ = 0;
};

struct Order {
  static constexpr size_t kMostRows = 10'000;

  bool closes = false;  // else they are listed
  Json filter = Json::object();
  size_t limit = 1000;  // of what is listed
  uint16_t code = 1000;
  std::string reason;
};

// Throws BadOrder, or nlohmann's exceptions.
Order order_of(const Json& json);
Json json_of(const Order& order);

// What the administrator has written. Throw BadOrder.
Json parse_body(const std::string& body);
Order listing_of(Json query);        // the query's fields
Order closing_of(const Json& body);  // without looking at the token

}  // namespace mws
