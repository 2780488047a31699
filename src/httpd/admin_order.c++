#ifdef WEBSOCKET_JSON
#include "src/httpd/admin_order.h"

#include <charconv>
#include <set>
#include <vector>

#include "src/protocol/close_code.h"

namespace mws {

namespace {

constexpr size_t kMaxText = 1024;  // bytes

const std::string& text_of(const std::string& key, const Json& value) {
  auto* text = value.get_ptr<const Json::string_t*>();
  if (!text || text->size() > kMaxText)
    throw BadOrder{key + " is a text of at most " + std::to_string(kMaxText) + " bytes"};
  return *text;
}

// A query has texts only.
template <class Number>
Number number_of(const std::string& key, const Json& value, Number lowest, Number highest) {
  Number number{};
  bool is_one = false;
  if (auto* text = value.get_ptr<const Json::string_t*>()) {
    auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), number);
    is_one = error == std::errc() && end == text->data() + text->size();
  } else if (std::is_floating_point_v<Number> ? value.is_number() : value.is_number_unsigned()) {
    // What is too large for a whole number's type does not become another one.
    is_one = std::is_floating_point_v<Number> || value.get<uint64_t>() <= uint64_t(highest);
    number = value.get<Number>();
  }
  if (!is_one || !(number >= lowest && number <= highest))
    throw BadOrder{key + " is a number from " + Json(lowest).dump() + " to " +
                   Json(highest).dump()};
  return number;
}

uint64_t id_of(const Json& value) {
  const std::string& text = text_of("id", value);
  uint64_t id = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id, 16);
  if (text.size() != 16 || error != std::errc() || end != text.data() + text.size())
    throw BadOrder{"id has 16 hexadecimal digits"};
  return id;
}

Mooring mooring_of(const Json& value) {
  const std::string& text = text_of("mooring", value);
  for (size_t i = 0; i < kMoorings; i++)
    if (text == name_of(Mooring(i))) return Mooring(i);
  throw BadOrder{"mooring is plain, tls or resident"};
}

bool is(ws_text fact, const std::optional<std::string>& wanted) {
  return !wanted || *wanted == std::string_view(fact.data ? fact.data : "", fact.size);
}

}  // namespace

Selection::Selection(const Json& filter) {
  if (!filter.is_object()) throw BadOrder{"the filter is an object"};
  for (const auto& [key, value] : filter.items()) read(key, value);
}

void Selection::read(const std::string& key, const Json& value) {
  constexpr double kMaxAge_s = 1e9;
  if (key == "id") id_ = id_of(value);
  else if (key == "child") child_ = number_of<pid_t>(key, value, 1, INT32_MAX);
  else if (key == "server") server_ = text_of(key, value);
  else if (key == "location") location_ = text_of(key, value);
  else if (key == "address") address_ = text_of(key, value);
  else if (key == "user") user_ = text_of(key, value);
  else if (key == "mooring") mooring_ = mooring_of(value);
  else if (key == "min_age")
    min_age_ms_ = uint64_t(number_of<double>(key, value, 0, kMaxAge_s) * 1000);
  else if (key == "min_buffered") min_buffered_ = number_of<uint64_t>(key, value, 0, INT64_MAX);
  else
    throw BadOrder{
        "a filter has only id, child, server, location, address, user, mooring, min_age and "
        "min_buffered"};
}

bool Selection::matches(const Connection& connection, const ws_connection& peer,
                        const SiteName& site) const {
  return (!id_ || *id_ == connection.id()) && (!mooring_ || *mooring_ == connection.mooring()) &&
         (!server_ || *server_ == site.server) && (!location_ || *location_ == site.location) &&
         is(peer.facts.fact(WS_REMOTE_ADDRESS), address_) && is(peer.facts.fact(WS_USER), user_) &&
         connection.age_ms() >= min_age_ms_ && connection.buffered_amount() >= min_buffered_;
}

Order order_of(const Json& json) {
  Order order;
  order.closes = json.at("closes").get<bool>();
  order.filter = json.at("filter");
  order.limit = json.at("limit").get<size_t>();
  order.code = json.at("code").get<uint16_t>();
  order.reason = json.at("reason").get<std::string>();
  return order;
}

Json json_of(const Order& order) {
  return {{"closes", order.closes},
          {"filter", order.filter},
          {"limit", order.limit},
          {"code", order.code},
          {"reason", order.reason}};
}

Json parse_body(const std::string& body) {
  std::vector<std::set<std::string>> keys;  // of the objects that have begun
  auto look = [&](int, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    else if (event == Json::parse_event_t::object_end) keys.pop_back();
    else if (event == Json::parse_event_t::key && !keys.back().insert(parsed).second)
      throw BadOrder{"the body has a key twice"};
    return true;
  };
  try {
    Json json = Json::parse(body, look);
    if (!json.is_object()) throw BadOrder{"the body is no JSON object"};
    return json;
  } catch (const Json::exception& error) {
    throw BadOrder{std::string("the body is no JSON: ") + error.what()};
  }
}

Order listing_of(Json query) {
  Order order;
  if (auto limit = query.find("limit"); limit != query.end()) {
    order.limit = number_of<size_t>("limit", *limit, 0, Order::kMostRows);
    query.erase(limit);
  }
  Selection check(query);
  order.filter = std::move(query);
  return order;
}

Order closing_of(const Json& body) {
  Order order;
  order.closes = true;
  bool all = false;
  for (const auto& [key, value] : body.items()) {
    if (key == "filter") order.filter = value;
    else if (key == "code") order.code = number_of<uint16_t>(key, value, 1000, 4999);
    else if (key == "reason") order.reason = text_of(key, value);
    else if (key == "all" && value.is_boolean()) all = value.get<bool>();
    else if (key == "all") throw BadOrder{"all is true or false"};
    else if (key != "token")
      throw BadOrder{"the body has only token, filter, code, reason and all"};
  }
  Selection check(order.filter);
  if (!may_be_sent(order.code))
    throw BadOrder{"the code may not be sent: it is 1000 to 1003, 1007 to 1014 or 3000 to 4999"};
  if (order.reason.size() > kMaxCloseReason) throw BadOrder{"the reason is longer than 123 bytes"};
  if (order.filter.empty() && !all)
    throw BadOrder{"an empty filter means all connections, and needs \"all\": true"};
  return order;
}

}  // namespace mws
#endif
