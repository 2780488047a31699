// The opening handshake once more, plainly: what it demands, and who may connect. Unit tests and
// fuzz targets compare the real one with it.
#pragma once
#include <cstdint>
#include <utility>

#include "src/protocol/handshake.h"
#include "src/protocol/origin.h"
#include "tests/unit/plain_header.h"

namespace mws::test {

// 16 bytes in base64: 128 bits, 4 zeros to fill the 22nd character, "==" to fill the last four.
inline bool plain_is_key(const std::string& text) {
  static const std::string alphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  if (text.size() != 24 || text.substr(22) != "==") return false;
  std::string bits;
  for (char c : text.substr(0, 22)) {
    size_t value = alphabet.find(c);
    if (value == alphabet.npos) return false;
    for (int bit = 5; bit >= 0; bit--) bits += value >> bit & 1 ? '1' : '0';
  }
  return bits.substr(128) == "0000";
}

// The status for a request; of several faults the first in this order counts.
inline int plain_status(const OpeningRequest& request) {
  auto is = [](const OptionalText& header, auto check) {
    return header && check(std::string(*header));
  };
  bool upgrades =
      is(request.connection, [](auto text) { return plain_list_holds(text, "upgrade"); });
  bool version = is(request.version, [](auto text) { return text == "13"; });
  bool key = is(request.key, plain_is_key);
  bool subprotocols = !request.subprotocols || is(request.subprotocols, [](auto text) {
    return plain_tokens(text) && !plain_tokens(text)->empty();
  });
  bool http = std::pair(request.http_major, request.http_minor) >= std::pair(1, 1);
  if (!http || request.method != "GET" || !request.host || request.has_body) return 400;
  if (!upgrades && !request.over_http2) return 400;
  if (!version) return 426;
  return key && subprotocols ? 101 : 400;
}

inline uint16_t plain_default_port(const std::string& scheme) {
  return scheme == "http" || scheme == "ws" ? 80 : scheme == "https" || scheme == "wss" ? 443 : 0;
}

inline bool plain_consists_of(const std::string& text, const std::string& characters) {
  return !text.empty() && text.find_first_not_of(characters) == text.npos;
}

// "host[:port]" as an origin of the scheme.
inline std::optional<Origin> plain_authority(const std::string& scheme, const std::string& text) {
  const std::string digits = "0123456789", letters = "abcdefghijklmnopqrstuvwxyz";
  std::string host = plain_lower(text), port;
  uint16_t number = plain_default_port(scheme);
  size_t bracket = host.rfind(']');
  size_t colon = host.find(':', bracket == host.npos ? 0 : bracket);
  if (colon != host.npos) {
    port = host.substr(colon + 1);
    host.resize(colon);
    if (!plain_consists_of(port, digits)) return std::nullopt;
    port.erase(0, port.find_first_not_of('0'));
    if (port.empty() || port.size() > 5 || std::stoi(port) > 65535) return std::nullopt;
    number = uint16_t(std::stoi(port));
  }
  bool good = host.size() > 2 && host.front() == '[' && host.back() == ']'
                  ? plain_consists_of(host.substr(1, host.size() - 2), digits + "abcdef:.")
                  : plain_consists_of(host, digits + letters + ".-_");
  return good ? std::optional(Origin{scheme, host, number}) : std::nullopt;
}

inline std::optional<Origin> plain_origin(const std::string& text) {
  size_t end = text.find("://");
  if (end == text.npos || !plain_is_token(text.substr(0, end))) return std::nullopt;
  return plain_authority(plain_lower(text.substr(0, end)), text.substr(end + 3));
}

// What one argument of WebSocketOrigin allows, besides the words "any", "same" and "null": each
// scheme that it stands for, with the host behind a star or without; nothing if it is no such text.
struct PlainRule {
  std::vector<Origin> origins;
  bool below = false;  // any name below the host instead of the host
};

inline std::optional<PlainRule> plain_rule(std::string text) {
  PlainRule rule;
  Texts schemes = {"http", "https"};
  if (size_t end = text.find("://"); end != text.npos) {
    schemes = {plain_lower(text.substr(0, end))};
    if (!plain_is_token(schemes[0])) return std::nullopt;
    text.erase(0, end + 3);
  }
  rule.below = text.substr(0, 2) == "*.";
  if (rule.below) text.erase(0, 2);
  for (const std::string& scheme : schemes) {
    auto origin = plain_authority(scheme, text);
    if (!origin) return std::nullopt;
    rule.origins.push_back(*origin);
  }
  return rule;
}

inline bool plain_matches(const PlainRule& rule, const Origin& origin) {
  return std::any_of(rule.origins.begin(), rule.origins.end(), [&](Origin allowed) {
    if (!rule.below) return allowed == origin;
    std::string end = "." + allowed.host;
    if (origin.host.size() <= end.size() || !origin.host.ends_with(end)) return false;
    allowed.host = origin.host;
    return allowed == origin;
  });
}

// Whether a policy of these arguments, all of them good, lets a page of the origin connect.
inline bool plain_allows(const Texts& arguments, const std::optional<std::string>& text,
                         const std::optional<Origin>& own) {
  std::optional<Origin> origin = text ? plain_origin(*text) : std::nullopt;
  return !text || std::any_of(arguments.begin(), arguments.end(), [&](const std::string& argument) {
    std::string word = plain_lower(argument);
    if (word == "any") return true;
    if (word == "null") return *text == "null";
    if (word == "same") return origin && own && *origin == *own;
    return origin && plain_matches(*plain_rule(argument), *origin);
  });
}

}  // namespace mws::test
