// The opening handshake as the server reads it, RFC 6455 §4.2, without HTTP's own parsing: who has
// read the request fills in an OpeningRequest. Pure functions.
#pragma once
#include <optional>
#include <string_view>

namespace mws {

using OptionalText = std::optional<std::string_view>;

// Headers that came in several lines stand here joined by commas (RFC 7230 §3.2.2).
struct OpeningRequest {
  std::string_view method;
  int http_major = 1, http_minor = 1;
  bool has_body = false;  // a length above 0 or a transfer coding
  OptionalText host, upgrade, connection, key, version, subprotocols, extensions;
  bool over_http2 = false;  // RFC 8441: the key, Connection and Upgrade are the HTTP server's own
};

// What an HTTP server answers.
struct HandshakeVerdict {
  int status;           // 101, or the error's status
  const char* section;  // of RFC 6455, for an error
  const char* reason;   // one line for the log, for an error
};

// Whether the request asks for a WebSocket at all (§4.2.1 items 3 and 4): Upgrade holds
// "websocket".
bool asks_for_websocket(const OpeningRequest& request);

// Judges a request that asks for a WebSocket. With 426 the answer must carry
// "Sec-WebSocket-Version: 13" (§4.4).
HandshakeVerdict judge(const OpeningRequest& request);

// What the key is extended by before it is hashed into Sec-WebSocket-Accept (§4.2.2 item 5.4).
inline constexpr std::string_view kAcceptGuid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

}  // namespace mws
