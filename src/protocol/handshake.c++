#include "src/protocol/handshake.h"

#include <algorithm>

#include "src/protocol/header_list.h"

namespace mws {

namespace {

bool is_base64(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' ||
         c == '/';
}

// §4.1 item 7: 16 bytes in base64, which are 22 characters and two of padding. The last of the 22
// carries two bits of the 16th byte; its other four bits are zero.
bool is_key(std::string_view text) {
  return text.size() == 24 && text.ends_with("==") &&
         std::all_of(text.begin(), text.begin() + 22, is_base64) &&
         std::string_view("AQgw").find(text[21]) != text.npos;
}

}  // namespace

bool asks_for_websocket(const OpeningRequest& request) {
  return request.upgrade && list_holds(*request.upgrade, "websocket");
}

HandshakeVerdict judge(const OpeningRequest& request) {
  if (request.http_major < 1 || (request.http_major == 1 && request.http_minor < 1))
    return {400, "4.2.1", "HTTP version below 1.1"};
  if (request.method != "GET") return {400, "4.2.1", "method is not GET"};
  if (!request.host) return {400, "4.2.1", "no Host header"};
  if (request.has_body) return {400, "4.2.1", "opening handshake with a body"};
  if (!request.over_http2 && !(request.connection && list_holds(*request.connection, "upgrade")))
    return {400, "4.2.1", "Connection header without \"upgrade\""};
  if (!request.version) return {426, "4.2.1", "no Sec-WebSocket-Version header"};
  if (*request.version != "13") return {426, "4.4", "Sec-WebSocket-Version is not 13"};
  if (!request.key) return {400, "4.2.1", "no Sec-WebSocket-Key header"};
  if (!is_key(*request.key)) return {400, "4.2.1", "Sec-WebSocket-Key is not 16 bytes in base64"};
  if (request.subprotocols) {
    auto tokens = split_tokens(*request.subprotocols);
    if (!tokens || tokens->empty())
      return {400, "4.1", "Sec-WebSocket-Protocol is not a list of tokens"};
  }
  return {101, "", ""};
}

}  // namespace mws
