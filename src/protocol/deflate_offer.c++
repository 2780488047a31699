#include "src/protocol/deflate_offer.h"

#include <algorithm>
#include <string_view>

namespace mws {

namespace {

constexpr std::string_view kName = "permessage-deflate";

// An offer's parameters, as far as they are given.
struct Offer {
  bool server_no_takeover = false, client_no_takeover = false;
  std::optional<int> server_window_bits;
  bool client_window_limitable = false;  // client_max_window_bits is there, with a value or without
  std::optional<int> client_window_bits;
};

// §7.1.2: 8 to 15, without leading zeros.
std::optional<int> window_bits(const std::string& text) {
  if (text == "8" || text == "9") return text[0] - '0';
  if (text.size() == 2 && text[0] == '1' && text[1] >= '0' && text[1] <= '5')
    return 10 + text[1] - '0';
  return std::nullopt;
}

bool read_flag(const ExtensionParameter& parameter, bool& flag) {
  if (flag || parameter.value) return false;
  return flag = true;
}

bool read_parameter(const ExtensionParameter& parameter, Offer& offer) {
  const std::string& name = parameter.name;
  if (name == "server_no_context_takeover") return read_flag(parameter, offer.server_no_takeover);
  if (name == "client_no_context_takeover") return read_flag(parameter, offer.client_no_takeover);
  if (name == "server_max_window_bits") {
    if (offer.server_window_bits || !parameter.value) return false;
    offer.server_window_bits = window_bits(*parameter.value);
    return offer.server_window_bits.has_value();
  }
  if (name == "client_max_window_bits") {
    if (offer.client_window_limitable) return false;
    offer.client_window_limitable = true;
    if (!parameter.value) return true;
    offer.client_window_bits = window_bits(*parameter.value);
    return offer.client_window_bits.has_value();
  }
  return false;
}

DeflateAgreement accept(const Offer& offer, const DeflateSettings& settings) {
  DeflateAgreement agreed;
  DeflateParameters& parameters = agreed.parameters;
  parameters.min_size = settings.min_size;
  parameters.level = uint8_t(settings.level);
  parameters.server_takeover = settings.takeover && !offer.server_no_takeover;
  parameters.client_takeover = settings.takeover && !offer.client_no_takeover;
  int server_bits =
      std::min(offer.server_window_bits.value_or(kMaxWindowBits), settings.window_bits);
  // A client that does not offer to limit its window cannot be asked to (§7.1.2.2).
  int client_bits = offer.client_window_bits.value_or(kMaxWindowBits);
  if (offer.client_window_limitable) client_bits = std::min(client_bits, settings.window_bits);
  parameters.server_window_bits = uint8_t(server_bits);
  parameters.client_window_bits = uint8_t(client_bits);

  agreed.answer = kName;
  if (!parameters.server_takeover) agreed.answer += "; server_no_context_takeover";
  if (!parameters.client_takeover) agreed.answer += "; client_no_context_takeover";
  if (offer.server_window_bits || server_bits < kMaxWindowBits)
    agreed.answer += "; server_max_window_bits=" + std::to_string(server_bits);
  if (offer.client_window_bits || client_bits < kMaxWindowBits)
    agreed.answer += "; client_max_window_bits=" + std::to_string(client_bits);
  return agreed;
}

}  // namespace

std::optional<DeflateAgreement> agree_on_deflate(const std::vector<ExtensionOffer>& offers,
                                                 const DeflateSettings& settings) {
  if (!settings.on) return std::nullopt;
  for (const ExtensionOffer& each : offers) {
    Offer offer;
    if (each.name == kName &&
        std::all_of(each.parameters.begin(), each.parameters.end(),
                    [&](const ExtensionParameter& p) { return read_parameter(p, offer); }))
      return accept(offer, settings);
  }
  return std::nullopt;
}

}  // namespace mws
