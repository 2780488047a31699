#include "src/protocol/origin.h"

#include <algorithm>
#include <charconv>

#include "src/protocol/header_list.h"

namespace mws {

namespace {

std::string lowered(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = char(c + 32);
  return out;
}

uint16_t default_port(std::string_view scheme) {
  if (scheme == "http" || scheme == "ws") return 80;
  if (scheme == "https" || scheme == "wss") return 443;
  return 0;
}

bool is_host(std::string_view host) {
  if (host.starts_with('['))
    return host.size() > 2 && host.ends_with(']') &&
           host.substr(1, host.size() - 2).find_first_not_of("0123456789abcdefABCDEF:.") ==
               host.npos;
  return !host.empty() && host.find_first_not_of(
                              "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                              ".-_") == host.npos;
}

// Splits "host[:port]"; without a port it is the one given.
std::optional<Origin> read_authority(std::string scheme, std::string_view text, uint16_t port) {
  size_t after_host = text.starts_with('[') ? text.find(']') : 0;
  size_t colon = after_host == text.npos ? text.npos : text.find(':', after_host);
  std::string_view host = text.substr(0, colon);
  if (colon != text.npos) {
    const char* end = text.data() + text.size();
    auto [stop, error] = std::from_chars(text.data() + colon + 1, end, port);
    if (error != std::errc() || stop != end || !port) return std::nullopt;
  }
  if (!is_host(host)) return std::nullopt;
  return Origin{std::move(scheme), lowered(host), port};
}

bool host_matches(const std::string& rule, const std::string& host) {
  if (!rule.starts_with("*.")) return rule == host;
  return host.size() > rule.size() - 1 && host.ends_with(std::string_view(rule).substr(1));
}

bool matches(const Origin& rule, const Origin& origin) {
  if (!host_matches(rule.host, origin.host)) return false;
  if (!rule.scheme.empty()) return rule.scheme == origin.scheme && rule.port == origin.port;
  if (origin.scheme != "http" && origin.scheme != "https") return false;
  return origin.port == (rule.port ? rule.port : default_port(origin.scheme));
}

}  // namespace

std::optional<Origin> parse_origin(std::string_view text) {
  size_t colon = text.find("://");
  if (colon == text.npos || colon == 0) return std::nullopt;
  std::string scheme = lowered(text.substr(0, colon));
  if (!is_token(scheme)) return std::nullopt;
  uint16_t port = default_port(scheme);
  return read_authority(std::move(scheme), text.substr(colon + 3), port);
}

std::optional<Origin> origin_of_host(std::string_view scheme, std::string_view host) {
  return read_authority(std::string(scheme), host, default_port(scheme));
}

bool OriginPolicy::allow(std::string_view text) {
  if (equal_ignoring_case(text, "any")) return any_ = true;
  if (equal_ignoring_case(text, "same")) return same_ = true;
  if (equal_ignoring_case(text, "null")) return null_ = true;
  size_t scheme_end = text.find("://");
  std::string scheme;
  if (scheme_end != text.npos) {
    scheme = lowered(text.substr(0, scheme_end));
    if (!is_token(scheme)) return false;
    text.remove_prefix(scheme_end + 3);
  }
  std::string prefix = text.starts_with("*.") ? "*." : "";
  auto rule = read_authority(scheme, text.substr(prefix.size()), default_port(scheme));
  if (!rule) return false;
  rule->host = prefix + rule->host;
  listed_.push_back(std::move(*rule));
  return true;
}

bool OriginPolicy::allows(std::optional<std::string_view> text,
                          const std::optional<Origin>& own) const {
  if (!text || any_) return true;
  if (*text == "null") return null_;
  std::optional<Origin> origin = parse_origin(*text);
  if (!origin) return false;
  if (same_ && own && *origin == *own) return true;
  return std::any_of(listed_.begin(), listed_.end(),
                     [&](const Origin& rule) { return matches(rule, *origin); });
}

}  // namespace mws
