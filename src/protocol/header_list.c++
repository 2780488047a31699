#include "src/protocol/header_list.h"

#include <algorithm>
#include <array>

namespace mws {

namespace {

constexpr auto kTokenCharacter = [] {
  std::array<bool, 256> table{};
  for (char c : std::string_view("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
                                 "ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
    table[uint8_t(c)] = true;
  return table;
}();

bool is_token_character(char c) { return kTokenCharacter[uint8_t(c)]; }
bool is_space(char c) { return c == ' ' || c == '\t'; }
char lower(char c) { return c >= 'A' && c <= 'Z' ? char(c + 32) : c; }

std::string_view trim(std::string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

// Calls visit with each element of a comma-separated list, trimmed, until it returns false.
template <class Visit>
void each_element(std::string_view list, Visit visit) {
  for (bool more = true; more;) {
    size_t comma = list.find(',');
    if (!visit(trim(list.substr(0, comma)))) return;
    more = comma != list.npos;
    if (more) list.remove_prefix(comma + 1);
  }
}

class OfferReader {
 public:
  explicit OfferReader(std::string_view text) : text_(text) {}

  bool at_end() const { return at_ == text_.size(); }

  // One element of the list, up to and with the comma that ends it.
  std::optional<ExtensionOffer> next() {
    ExtensionOffer offer;
    bool good = read_offer(offer);
    skip_element();
    return good ? std::optional(std::move(offer)) : std::nullopt;
  }

 private:
  bool read_offer(ExtensionOffer& offer) {
    offer.name = token();
    if (offer.name.empty()) return false;
    while (take(';')) {
      ExtensionParameter parameter{std::string(token()), {}};
      if (parameter.name.empty()) return false;
      if (take('=') && !read_value(parameter)) return false;
      offer.parameters.push_back(std::move(parameter));
    }
    return at_end() || text_[at_] == ',';
  }

  // RFC 6455 §9.1: a quoted value must be a token once its quotes and escapes are gone.
  bool read_value(ExtensionParameter& parameter) {
    std::string value;
    if (take('"')) {
      while (!at_end() && text_[at_] != '"') {
        if (text_[at_] == '\\') at_++;
        if (!at_end()) value += text_[at_++];
      }
      if (at_end()) return false;
      at_++;
    } else {
      value = token();
    }
    skip_spaces();
    parameter.value = std::move(value);
    return is_token(*parameter.value);
  }

  std::string_view token() {
    skip_spaces();
    size_t from = at_;
    while (!at_end() && is_token_character(text_[at_])) at_++;
    std::string_view found = text_.substr(from, at_ - from);
    skip_spaces();
    return found;
  }

  bool take(char c) {
    skip_spaces();
    if (at_end() || text_[at_] != c) return false;
    at_++;
    return true;
  }

  void skip_spaces() {
    while (!at_end() && is_space(text_[at_])) at_++;
  }

  // To the comma after this element; commas inside quotes do not count.
  void skip_element() {
    for (bool quoted = false; !at_end(); at_++) {
      char c = text_[at_];
      if (quoted && c == '\\' && at_ + 1 < text_.size()) at_++;
      else if (c == '"') quoted = !quoted;
      else if (c == ',' && !quoted) {
        at_++;
        return;
      }
    }
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

bool is_token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), is_token_character);
}

bool equal_ignoring_case(std::string_view one, std::string_view other) {
  return std::equal(one.begin(), one.end(), other.begin(), other.end(),
                    [](char a, char b) { return lower(a) == lower(b); });
}

bool list_holds(std::string_view list, std::string_view token) {
  bool found = false;
  each_element(list, [&](std::string_view element) {
    found = equal_ignoring_case(element, token);
    return !found;
  });
  return found;
}

std::optional<std::vector<std::string_view>> split_tokens(std::string_view list) {
  std::vector<std::string_view> tokens;
  bool good = true;
  each_element(list, [&](std::string_view element) {
    if (element.empty()) return true;
    good = is_token(element);
    if (good) tokens.push_back(element);
    return good;
  });
  if (!good) return std::nullopt;
  return tokens;
}

std::vector<ExtensionOffer> parse_extension_offers(std::string_view header) {
  std::vector<ExtensionOffer> offers;
  for (OfferReader reader(header); !reader.at_end();)
    if (auto offer = reader.next()) offers.push_back(std::move(*offer));
  return offers;
}

}  // namespace mws
