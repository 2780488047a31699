#include "src/handler/request.h"

#include <algorithm>
#include <cstring>

#include "src/protocol/header_list.h"

namespace mws {

namespace {

size_t count(const char* const* names) {
  size_t n = 0;
  while (names && names[n]) n++;
  return n;
}

bool is_control_character(unsigned char c) { return (c < ' ' && c != '\t') || c == 127; }

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c |= 0x20;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// As HTML forms encode it. What is no encoding stands for itself.
std::string decoded(std::string_view text) {
  std::string result;
  for (size_t i = 0; i < text.size(); i++) {
    bool encoded = text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 &&
                   hex_digit(text[i + 2]) >= 0;
    if (encoded) {
      result += char(hex_digit(text[i + 1]) << 4 | hex_digit(text[i + 2]));
      i += 2;
    } else {
      result += text[i] == '+' ? ' ' : text[i];
    }
  }
  return result;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// Takes the front of a list off it, up to the separator.
std::string_view take_item(std::string_view& list, std::string_view separators) {
  size_t end = std::min(list.find_first_of(separators), list.size());
  std::string_view item = list.substr(0, end);
  list.remove_prefix(std::min(end + 1, list.size()));
  return item;
}

void append_number(std::string& to, size_t number) {
  for (; number > 127; number >>= 7) to += char(number | 128);
  to += char(number);
}

size_t take_number(const char*& at) {
  size_t number = 0;
  int shift = 0;
  do number |= size_t(*at & 127) << shift, shift += 7;
  while (*at++ & 128);
  return number;
}

}  // namespace

void Facts::set(ws_fact fact, const char* text) { set(fact, {text, text ? strlen(text) : 0}); }

ws_text HandshakeRequest::keep(std::string text) const {
  const std::string& kept = kept_.emplace_back(std::move(text));
  return {kept.c_str(), kept.size()};
}

// Of HTTP/2, where clients may send a line for each, httpd has joined them by "; " (RFC 9113
// §8.2.3).
ws_text HandshakeRequest::cookie(std::string_view name) const {
  ws_text lines = header("Cookie");
  std::string_view list(lines.data ? lines.data : "", lines.size);
  while (!list.empty()) {
    std::string_view pair = take_item(list, ";");
    size_t equals = pair.find('=');
    if (equals == pair.npos || trimmed(pair.substr(0, equals)) != name) continue;
    return keep(std::string(trimmed(pair.substr(equals + 1))));
  }
  return {};
}

ws_text HandshakeRequest::parameter(std::string_view name) const {
  ws_text query = facts.get(WS_QUERY);
  std::string_view list(query.data ? query.data : "", query.size);
  while (!list.empty()) {
    std::string_view pair = take_item(list, "&");
    size_t equals = std::min(pair.find('='), pair.size());
    if (decoded(pair.substr(0, equals)) != name) continue;
    return keep(decoded(pair.substr(std::min(equals + 1, pair.size()))));
  }
  return {};
}

bool may_be_added(std::string_view name, std::string_view value) {
  constexpr std::string_view own[] = {"Connection", "Upgrade", "Content-Length",
                                      "Transfer-Encoding", "Trailer"};
  constexpr std::string_view kPrefix = "Sec-WebSocket-";
  auto is_name = [name](std::string_view each) { return equal_ignoring_case(each, name); };
  return is_token(name) && std::none_of(std::begin(own), std::end(own), is_name) &&
         !equal_ignoring_case(name.substr(0, kPrefix.size()), kPrefix) &&
         std::none_of(value.begin(), value.end(), is_control_character);
}

KeptFacts::KeptFacts(const HandshakeRequest& request, const char* const* keep_headers)
    : keep_headers_(keep_headers) {
  std::vector<ws_text> texts;
  texts.reserve(kKeptFacts + count(keep_headers));
  for (size_t i = 0; i < kKeptFacts; i++) texts.push_back(request.facts.get(ws_fact(i)));
  for (size_t i = 0; i < count(keep_headers); i++) texts.push_back(request.header(keep_headers[i]));

  std::string sizes;
  size_t bytes = 0;
  for (const ws_text& text : texts) {
    append_number(sizes, text.data ? text.size + 1 : 0);
    if (text.data) bytes += text.size + 1;
  }
  block_.reset(new char[sizes.size() + bytes]);
  char* at = std::copy(sizes.begin(), sizes.end(), block_.get());
  for (const ws_text& text : texts) {
    if (!text.data) continue;
    at = std::copy_n(text.data, text.size, at);
    *at++ = 0;
  }
}

ws_text KeptFacts::fact(ws_fact fact) const {
  return size_t(fact) < kKeptFacts ? text(size_t(fact)) : ws_text{};
}

ws_text KeptFacts::header(const char* name) const {
  for (size_t i = 0; name && keep_headers_ && keep_headers_[i]; i++)
    if (equal_ignoring_case(keep_headers_[i], name)) return text(kKeptFacts + i);
  return {};
}

ws_text KeptFacts::text(size_t index) const {
  const char* at = block_.get();
  size_t before = 0, own = 0;  // bytes of the texts before it, and of itself, with their zero bytes
  for (size_t i = 0; i < kKeptFacts + count(keep_headers_); i++) {
    size_t size = take_number(at);
    if (i < index) before += size;
    if (i == index) own = size;
  }
  return own ? ws_text{at + before, own - 1} : ws_text{};
}

}  // namespace mws
