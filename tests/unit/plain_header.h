// The readers of headers once more, plainly: they cut a text into pieces and look at each. Unit
// tests and fuzz targets compare the real ones with them.
#pragma once
#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "src/protocol/deflate_offer.h"
#include "src/protocol/header_list.h"

namespace mws::test {

using Texts = std::vector<std::string>;

inline std::string plain_lower(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = char(c - 'A' + 'a');
  return text;
}

inline bool plain_is_token(const std::string& text) {
  static const std::string allowed =
      "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  return !text.empty() && text.find_first_not_of(allowed) == text.npos;
}

inline std::string plain_trim(const std::string& text) {
  size_t from = text.find_first_not_of(" \t");
  return from == text.npos ? "" : text.substr(from, text.find_last_not_of(" \t") - from + 1);
}

// The trimmed pieces between separators. With quotes, those inside of "…" separate nothing; there a
// backslash takes its meaning from the next character.
inline Texts plain_split(const std::string& text, char separator, bool quotes) {
  Texts pieces(1);
  bool quoted = false, escaped = false;
  for (char c : text) {
    if (c == separator && !quoted) {
      pieces.emplace_back();
      continue;
    }
    pieces.back() += c;
    if (quotes && c == '"' && !escaped) quoted = !quoted;
    escaped = quoted && c == '\\' && !escaped;
  }
  for (std::string& piece : pieces) piece = plain_trim(piece);
  return pieces;
}

inline bool plain_list_holds(const std::string& list, const std::string& lower_case_token) {
  Texts elements = plain_split(list, ',', false);
  return std::any_of(elements.begin(), elements.end(), [&](const std::string& element) {
    return plain_lower(element) == lower_case_token;
  });
}

inline std::optional<Texts> plain_tokens(const std::string& list) {
  Texts elements = plain_split(list, ',', false);
  std::erase(elements, "");
  if (!std::all_of(elements.begin(), elements.end(), plain_is_token)) return std::nullopt;
  return elements;
}

// A value without its quotes and escapes; nothing if it is no token.
inline std::optional<std::string> plain_value(std::string text) {
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"') {
    text = text.substr(1, text.size() - 2);
    for (size_t at = 0; at < text.size(); at++) {
      if (text[at] == '"') return std::nullopt;
      if (text[at] == '\\') text.erase(at, 1);
      if (at == text.size()) return std::nullopt;  // the backslash was for the closing quote
    }
  }
  return plain_is_token(text) ? std::optional(text) : std::nullopt;
}

inline std::optional<ExtensionOffer> plain_offer(const std::string& text) {
  Texts pieces = plain_split(text, ';', true);
  ExtensionOffer offer{pieces[0], {}};
  if (!plain_is_token(offer.name)) return std::nullopt;
  for (size_t i = 1; i < pieces.size(); i++) {
    size_t equals = pieces[i].find('=');
    ExtensionParameter parameter{plain_trim(pieces[i].substr(0, equals)), {}};
    if (!plain_is_token(parameter.name)) return std::nullopt;
    if (equals != std::string::npos) {
      parameter.value = plain_value(plain_trim(pieces[i].substr(equals + 1)));
      if (!parameter.value) return std::nullopt;
    }
    offer.parameters.push_back(parameter);
  }
  return offer;
}

inline std::vector<ExtensionOffer> plain_offers(const std::string& header) {
  std::vector<ExtensionOffer> offers;
  for (const std::string& element : plain_split(header, ',', true))
    if (auto offer = plain_offer(element)) offers.push_back(*offer);
  return offers;
}

// "name; parameter; parameter=value" of each offer, joined by " | ".
inline std::string offers_text(const std::vector<ExtensionOffer>& offers) {
  std::string out;
  for (const ExtensionOffer& offer : offers) {
    if (!out.empty()) out += " | ";
    out += offer.name;
    for (const ExtensionParameter& parameter : offer.parameters) {
      out += "; " + parameter.name;
      if (parameter.value) out += "=" + *parameter.value;
    }
  }
  return out;
}

// RFC 7692 §7.1. The parameter's value as bits of a window; 0: none, -1: no such number.
inline int plain_window_bits(const ExtensionParameter& parameter) {
  if (!parameter.value) return 0;
  for (int bits = 8; bits <= 15; bits++)
    if (*parameter.value == std::to_string(bits)) return bits;
  return -1;
}

// The answer to an offer; empty: it is declined.
inline std::string plain_answer(const ExtensionOffer& offer, const DeflateSettings& settings) {
  if (!settings.on || offer.name != "permessage-deflate") return "";
  std::set<std::string> given;
  int server_bits = 0, client_bits = 0;
  for (const ExtensionParameter& parameter : offer.parameters) {
    const std::string& name = parameter.name;
    int bits = plain_window_bits(parameter);
    if (!given.insert(name).second) return "";
    if (name == "server_no_context_takeover" || name == "client_no_context_takeover") {
      if (parameter.value) return "";
    } else if (name == "server_max_window_bits") {
      server_bits = bits;
      if (bits <= 0) return "";
    } else if (name == "client_max_window_bits") {
      client_bits = bits;
      if (bits < 0) return "";
    } else {
      return "";
    }
  }
  // The smaller of what either side wants is said where either side says anything.
  bool limits = settings.window_bits < 15;
  std::string answer = "permessage-deflate";
  for (std::string side : {"server", "client"})
    if (!settings.takeover || given.contains(side + "_no_context_takeover"))
      answer += "; " + side + "_no_context_takeover";
  if (server_bits || limits)
    answer += "; server_max_window_bits=" +
              std::to_string(std::min(server_bits ? server_bits : 15, settings.window_bits));
  if (client_bits || (limits && given.contains("client_max_window_bits")))
    answer += "; client_max_window_bits=" +
              std::to_string(std::min(client_bits ? client_bits : 15, settings.window_bits));
  return answer;
}

// The answer to the first offer that is not declined.
inline std::string plain_answer(const std::vector<ExtensionOffer>& offers,
                                const DeflateSettings& settings) {
  for (const ExtensionOffer& offer : offers)
    if (std::string answer = plain_answer(offer, settings); !answer.empty()) return answer;
  return "";
}

}  // namespace mws::test
