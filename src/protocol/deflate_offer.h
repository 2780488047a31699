// permessage-deflate's negotiation, RFC 7692 §5 and §7.1. Pure functions.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "src/protocol/deflate.h"
#include "src/protocol/header_list.h"

namespace mws {

// What the server wants of compression in a location.
struct DeflateSettings {
  bool on = true;
  int level = 2;                     // 1 to 9: from the least work to the smallest result
  int window_bits = kMaxWindowBits;  // 9 to 15: the largest window, in either direction
  // Messages refer to those before them. They get smaller, and each connection keeps a window and
  // more in each direction.
  bool takeover = false;
  uint32_t min_size = 256;  // bytes; shorter messages are sent as they are
};

// What one connection does.
struct DeflateParameters {
  uint32_t min_size = 0;
  uint8_t level = 0;
  uint8_t server_window_bits = 0;  // 8 to 15; 0: the extension is not in use
  uint8_t client_window_bits = 0;  // 8 to 15
  bool server_takeover = false;    // the server's messages refer to those before them
  bool client_takeover = false;    // the client's may

  bool agreed() const { return server_window_bits != 0; }
  // Whether to try on a message of so many bytes.
  bool compresses(size_t size) const { return agreed() && size && size >= min_size; }
};

struct DeflateAgreement {
  DeflateParameters parameters;
  std::string answer;  // for Sec-WebSocket-Extensions
};

// The first offer that is for permessage-deflate and has no unknown, repeated or malformed
// parameter; nothing if there is none.
std::optional<DeflateAgreement> agree_on_deflate(const std::vector<ExtensionOffer>& offers,
                                                 const DeflateSettings& settings);

}  // namespace mws
