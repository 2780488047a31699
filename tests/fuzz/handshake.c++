// The opening handshake: its verdict, the subprotocols offered and whether the page may connect are
// those of the plain one.
//
// The input is text: "METHOD MAJOR.MINOR" and a line "name: value" for each header. WebSocketOrigin
// is one of them, with one argument; so is Scheme, of the server.
#include "src/protocol/handshake.h"

#include <deque>
#include <map>

#include "src/protocol/header_list.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/plain_handshake.h"

namespace mws::fuzz {
namespace {

struct Request {
  std::deque<Copy> memory;
  std::map<std::string, std::string> headers;  // by name in lower case, lines joined by commas
  test::Texts allowed;
  OpeningRequest opening;

  explicit Request(const std::string& text) {
    test::Texts lines = test::plain_split(text, '\n', false);
    for (size_t i = 1; i < lines.size(); i++) {
      size_t colon = lines[i].find(':');
      if (colon == std::string::npos) continue;
      std::string name = test::plain_lower(lines[i].substr(0, colon));
      std::string value = test::plain_trim(lines[i].substr(colon + 1));
      if (name == "websocketorigin") allowed.push_back(value);
      else if (auto [at, is_new] = headers.try_emplace(name, value); !is_new)
        at->second += ", " + value;
    }
    size_t space = lines[0].find(' ');
    opening.method = keep(lines[0].substr(0, space));
    std::string version = space == std::string::npos ? "" : lines[0].substr(space + 1);
    opening.http_major = version.size() > 0 ? version[0] - '0' : 1;
    opening.http_minor = version.size() > 2 ? version[2] - '0' : 0;
    opening.over_http2 = opening.http_major == 2;
    opening.has_body = header("transfer-encoding").has_value();
    opening.host = header("host");
    opening.upgrade = header("upgrade");
    opening.connection = header("connection");
    opening.key = header("sec-websocket-key");
    opening.version = header("sec-websocket-version");
    opening.subprotocols = header("sec-websocket-protocol");
  }
  OptionalText header(const std::string& name) {
    auto at = headers.find(name);
    return at == headers.end() ? OptionalText() : keep(at->second);
  }
  std::string_view keep(std::string_view text) {
    return memory.emplace_back(bytes_of(text)).text();
  }
};

void judge(Request& request) {
  const OpeningRequest& opening = request.opening;
  demand(mws::judge(opening).status == test::plain_status(opening), "the status");
  std::string upgrade(opening.upgrade.value_or("")), list(opening.subprotocols.value_or(""));
  demand(asks_for_websocket(opening) == test::plain_list_holds(upgrade, "websocket"), "asking");
  auto tokens = split_tokens(list);
  auto plain = test::plain_tokens(list);
  demand(tokens.has_value() == plain.has_value(), "a list of tokens");
  if (tokens) demand(test::Texts(tokens->begin(), tokens->end()) == *plain, "the tokens");
}

void judge_origin(Request& request) {
  OptionalText origin = request.header("origin"), scheme = request.header("scheme");
  std::string text(origin.value_or("")), own_scheme(scheme.value_or("http"));
  demand(parse_origin(text) == test::plain_origin(text), "the origin");
  std::string host(request.opening.host.value_or(""));
  auto own = origin_of_host(own_scheme, host);
  demand(own == test::plain_authority(own_scheme, host), "the server's own origin");

  OriginPolicy policy;
  std::erase_if(request.allowed, [&](const std::string& argument) {
    std::string word = test::plain_lower(argument);
    bool good = word == "any" || word == "same" || word == "null" || test::plain_rule(argument);
    demand(policy.allow(request.keep(argument)) == good, "an argument of WebSocketOrigin");
    return !good;
  });
  bool plain =
      test::plain_allows(request.allowed, origin ? std::optional(text) : std::nullopt, own);
  demand(policy.allows(origin, own) == plain, "who may connect");
}

}  // namespace
}  // namespace mws::fuzz

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  mws::fuzz::Request request(std::string(mws::text_of({data, size})));
  mws::fuzz::judge(request);
  mws::fuzz::judge_origin(request);
  return 0;
}
