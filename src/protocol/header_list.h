// The lists inside HTTP headers that the opening handshake reads: tokens and lists of them
// (RFC 7230 §3.2.6, §7) and extension offers (RFC 6455 §9.1). Pure functions, linear time.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mws {

bool is_token(std::string_view text);

// Compares ASCII letters without regard to case.
bool equal_ignoring_case(std::string_view one, std::string_view other);

// Whether a comma-separated list holds the token, in any case.
bool list_holds(std::string_view list, std::string_view token);

// The elements of a comma-separated list of tokens, empty elements left out. Nothing if an element
// is not a token. The views are into the list.
std::optional<std::vector<std::string_view>> split_tokens(std::string_view list);

struct ExtensionParameter {
  std::string name;
  std::optional<std::string> value;  // a quoted value stands here without its quotes
};

struct ExtensionOffer {
  std::string name;
  std::vector<ExtensionParameter> parameters;
};

// The offers of Sec-WebSocket-Extensions in the client's order of preference. An offer that is
// malformed is left out, which declines it; those after it are read on.
std::vector<ExtensionOffer> parse_extension_offers(std::string_view header);

}  // namespace mws
