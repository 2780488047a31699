// An opening handshake as a handler sees it, what it answers, and what is kept for the connection.
#pragma once
#include <array>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mod_websocket/handler_abi.h"

namespace mws {

class Companion;

inline constexpr size_t kKeptFacts = size_t(WS_NOTE) + 1;
inline constexpr size_t kMaxBody = INT32_MAX;  // bytes; httpd writes no more in one call
inline constexpr size_t kMaxNote = 64 * 1024;  // bytes

// The facts of a request, by ws_fact.
class Facts {
 public:
  ws_text get(ws_fact fact) const {
    size_t at = place(fact);
    return at < all_.size() ? all_[at] : ws_text{};
  }
  void set(ws_fact fact, ws_text text) { all_[place(fact)] = text; }
  void set(ws_fact fact, const char* text);  // nothing for nullptr

 private:
  static constexpr size_t kOfHandshake = size_t(WS_EXTENSIONS_OFFERED) - WS_METHOD + 1;
  static size_t place(ws_fact fact) {
    if (size_t(fact) < kKeptFacts) return size_t(fact);
    return fact >= WS_METHOD ? kKeptFacts + (size_t(fact) - WS_METHOD) : SIZE_MAX;
  }
  std::array<ws_text, kKeptFacts + kOfHandshake> all_{};
};

// Filled in by who has read the request. All texts are followed by a zero byte and live as long as
// the request.
class HandshakeRequest {
 public:
  virtual ~HandshakeRequest() = default;
  // A header's value, several lines joined by ", "; nothing if there is none.
  virtual ws_text header(const char* name) const noexcept = 0;
  virtual void each_header(void (*each)(void* context, const char* name, const char* value),
                           void* context) const = 0;

  // Nothing where there is none. Throw std::bad_alloc.
  ws_text cookie(std::string_view name) const;
  ws_text parameter(std::string_view name) const;
  // A copy that lives as long as the request.
  ws_text keep(std::string text) const;

  Facts facts;
  std::vector<std::string> subprotocols;  // offered, in the client's order
  void* native = nullptr;                 // httpd's own, for plugins of apache-websocket
  uint64_t connection_id = 0;             // of the connection that comes of it

  // The handler's answer:
  std::vector<std::pair<std::string, std::string>> response_headers;
  std::string body, content_type;  // of a rejection; none while content_type is empty
  // The handler chose a subprotocol with a control character: it would have forged a header.
  bool forged = false;
  std::shared_ptr<Companion> companion;  // of the connection that comes of it

 private:
  mutable std::deque<std::string> kept_;
};

// Whether a handler may add such a line to the answer.
bool may_be_added(std::string_view name, std::string_view value);

// What a connection keeps of its request: the facts and some headers, in one piece of memory.
class KeptFacts {
 public:
  // keep_headers is the handler's list, NULL or ended by NULL; it outlives this.
  KeptFacts(const HandshakeRequest& request, const char* const* keep_headers);

  ws_text fact(ws_fact fact) const;
  ws_text header(const char* name) const;

 private:
  ws_text text(size_t index) const;

  const char* const* keep_headers_;
  // The facts' and headers' sizes plus one, 0 for what is not there, in groups of seven bits with
  // the lowest first, all but the last of a size with the highest bit set; then their bytes, each
  // text followed by a zero byte.
  std::unique_ptr<char[]> block_;
};

}  // namespace mws
