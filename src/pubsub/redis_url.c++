#include "src/pubsub/redis_url.h"

#include <charconv>
#include <optional>

namespace mws {

namespace {

constexpr std::string_view kTcp = "redis://", kUnix = "redis+unix:", kTls = "rediss:";
constexpr size_t kMaxPath = 107;    // bytes, what the system takes for a socket's
constexpr size_t kMaxPrefix = 128;  // bytes

const char* const kShape =
    "it is not of the form redis://[[user]:password@]host[:port][/db][?prefix=P] or "
    "redis+unix:/path[?db=N][&prefix=P], with %XX for what has a meaning of its own there";

int hex_value(char digit) {
  if (digit >= '0' && digit <= '9') return digit - '0';
  if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
  if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
  return -1;
}

// With each %XX as the byte that it stands for. None has the value 0.
std::optional<std::string> unescaped(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); i++) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    int high = i + 2 < text.size() ? hex_value(text[i + 1]) : -1;
    int low = i + 2 < text.size() ? hex_value(text[i + 2]) : -1;
    if (high < 0 || low < 0 || (!high && !low)) return std::nullopt;
    out += char(high * 16 + low);
    i += 2;
  }
  return out;
}

template <class Number>
bool read_number(std::string_view text, Number& into) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), into);
  return error == std::errc() && end == text.data() + text.size();
}

// The text up to the first of these characters, which stay.
std::string_view take_until(std::string_view& rest, std::string_view ends) {
  size_t size = std::min(rest.find_first_of(ends), rest.size());
  std::string_view taken = rest.substr(0, size);
  rest.remove_prefix(size);
  return taken;
}

// "[user]:password@" in front, if it is there.
const char* read_login(std::string_view& rest, RedisAddress& into) {
  std::string_view authority = rest.substr(0, std::min(rest.find_first_of("/?"), rest.size()));
  size_t at = authority.rfind('@');
  if (at == authority.npos) return nullptr;
  std::string_view login = authority.substr(0, at);
  rest.remove_prefix(at + 1);
  size_t colon = login.find(':');
  if (colon == login.npos)
    return "there is no \":\" before the password; where there is no user, it is "
           "redis://:password@host";
  auto user = unescaped(login.substr(0, colon)), password = unescaped(login.substr(colon + 1));
  if (!user || !password) return "user or password has a \"%\" that is not followed by two digits";
  if (password->empty()) return "the password is empty";
  into.user = *user;
  into.password = *password;
  return nullptr;
}

const char* read_host(std::string_view& rest, RedisAddress& into) {
  std::string_view host;
  if (rest.starts_with('[')) {
    rest.remove_prefix(1);
    host = take_until(rest, "]");
    if (rest.empty()) return kShape;
    rest.remove_prefix(1);
  } else {
    host = take_until(rest, ":/?");
  }
  if (host.empty()) return "the host is missing";
  if (host.size() > 255 || host.find_first_of("@%#\\ \t") != host.npos) return kShape;
  into.host = host;
  if (!rest.starts_with(':')) return nullptr;
  rest.remove_prefix(1);
  if (!read_number(take_until(rest, "/?"), into.port) || !into.port)
    return "the port is not a number from 1 to 65535; in a password, \"/\", \"?\" and \"@\" are "
           "written as %2F, %3F and %40";
  return nullptr;
}

const char* read_database(std::string_view text, RedisAddress& into) {
  return read_number(text, into.database) && into.database < 1'000'000
             ? nullptr
             : "the number of the database is none";
}

// Braces around the topic tell a cluster which part of a key counts.
const char* read_prefix(std::string_view text, RedisAddress& into) {
  auto prefix = unescaped(text);
  if (!prefix || prefix->size() > kMaxPrefix || prefix->find_first_of("{}") != prefix->npos)
    return "prefix= is longer than 128 bytes, or has \"{\", \"}\", or \"%\" without two digits";
  into.prefix = *prefix;
  return nullptr;
}

const char* read_query(std::string_view rest, RedisAddress& into) {
  while (!rest.empty()) {
    rest.remove_prefix(1);  // the ? or &
    std::string_view option = take_until(rest, "&");
    const char* wrong = "behind \"?\" there may be prefix=, and for redis+unix: db=";
    if (option.starts_with("prefix=")) wrong = read_prefix(option.substr(7), into);
    else if (option.starts_with("db=") && into.host.empty())
      wrong = read_database(option.substr(3), into);
    if (wrong) return wrong;
  }
  return nullptr;
}

const char* read_tcp(std::string_view rest, RedisAddress& into) {
  if (const char* wrong = read_login(rest, into)) return wrong;
  if (const char* wrong = read_host(rest, into)) return wrong;
  if (rest.starts_with('/')) {
    rest.remove_prefix(1);
    std::string_view database = take_until(rest, "?");
    if (const char* wrong = database.empty() ? nullptr : read_database(database, into))
      return wrong;
  }
  if (!rest.empty() && rest[0] != '?') return kShape;
  return read_query(rest, into);
}

const char* read_unix(std::string_view rest, RedisAddress& into) {
  if (rest.starts_with("//")) {
    rest.remove_prefix(2);
    if (const char* wrong = read_login(rest, into)) return wrong;
  }
  auto path = unescaped(take_until(rest, "?"));
  if (!path || !path->starts_with('/') || path->size() > kMaxPath)
    return "the path of the socket does not begin with \"/\", or is longer than 107 bytes";
  into.path = *path;
  return read_query(rest, into);
}

}  // namespace

std::string RedisAddress::name() const {
  if (host.empty()) return path;
  bool is_ipv6 = host.find(':') != host.npos;
  return (is_ipv6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

bool is_redis_url(std::string_view text) { return text.starts_with("redis"); }

Result<RedisAddress> parse_redis_url(std::string_view text) {
  RedisAddress address;
  const char* wrong = kShape;
  if (text.starts_with(kTls))
    wrong = "TLS is not spoken; use redis:// to a local stunnel or redis+unix:";
  else if (text.starts_with(kTcp)) wrong = read_tcp(text.substr(kTcp.size()), address);
  else if (text.starts_with(kUnix)) wrong = read_unix(text.substr(kUnix.size()), address);
  if (wrong) return Failure{wrong};
  return address;
}

}  // namespace mws
