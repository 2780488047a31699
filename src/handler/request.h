// An opening handshake as a handler sees it, and what is kept of it for the connection.
#pragma once
#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mod_websocket/handler_abi.h"
#include "src/engine/connection.h"

namespace mws {

inline constexpr size_t kFacts = size_t(WS_EXTENSIONS) + 1;

// Filled in by who has read the request. All texts are followed by a zero byte and live as long as
// the request.
class HandshakeRequest {
 public:
  virtual ~HandshakeRequest() = default;
  // A header's value, several lines joined by ", "; nothing if there is none.
  virtual ws_text header(const char* name) const noexcept = 0;

  std::array<ws_text, kFacts> facts{};    // by ws_fact
  std::vector<std::string> subprotocols;  // offered, in the client's order
  // The handler chose a subprotocol with a control character: it would have forged a header.
  bool forged = false;
};

// What a connection keeps for its handler: the facts, some headers, the handler's own pointer.
class HandlerAttachment final : public Attachment {
 public:
  // keep_headers is the handler's list, NULL or ended by NULL; it outlives the connection.
  HandlerAttachment(const HandshakeRequest& request, const char* const* keep_headers);

  ws_text fact(ws_fact fact) const;
  ws_text header(const char* name) const;

  void* user_data = nullptr;

 private:
  static constexpr uint32_t kNothing = UINT32_MAX;
  ws_text text(size_t index) const;

  const char* const* keep_headers_;
  // The facts' and headers' sizes (kNothing for what is not there), then their bytes, each text
  // followed by a zero byte.
  std::unique_ptr<char[]> block_;
};

}  // namespace mws
