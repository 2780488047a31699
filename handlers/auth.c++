// Accepts and rejects in the opening handshake: a client needs the token that WebSocketParam token
// sets, and brings it, in this order of preference, as
//
//     Authorization: Bearer TOKEN      not from a browser's page, which cannot set headers
//     Cookie: token=TOKEN              browsers send it for any page: see WebSocketOrigin
//     ws://host/auth?token=TOKEN       ends up in access logs: for trying things out
//
// Without the parameter everybody is rejected. Where users have passwords, let httpd ask for them
// (AuthType, Require valid-user): a handler then finds the name in request.user().
#include <mod_websocket/handler.h>
#include <strings.h>
#include <unistd.h>

#include <stdexcept>

struct Auth : websocket::Handler {
  explicit Auth(const websocket::Config& config) : token(config.param("token").value_or("")) {
    if (token.empty())
      websocket::log(WS_WARNING, "rejects every client, as there is no WebSocketParam token");
  }

  int handshake(websocket::Request& request) override {
    auto [given, from] = token_of(request);
    if (!given) return reject(request, "Bearer realm=\"mod_websocket\"", "a token is needed");
    if (token.empty() || !same(*given, token))
      return reject(request, "Bearer realm=\"mod_websocket\", error=\"invalid_token\"",
                    "the token is wrong");

    request.accept_subprotocol("auth.v1");  // if it is offered
    // Headers go out with the 101 too. A page's scripts cannot read this cookie (HttpOnly), and
    // another site's requests do not bring it (SameSite). A real handler would remember it.
    bool tls = request.tls_version().has_value();
    request.add_header("Set-Cookie", "session=" + session_id() +
                                         "; Path=/; HttpOnly; SameSite=Strict" +
                                         (tls ? "; Secure" : ""));
    request.set_note(from);  // what was found out, for the connection: see open
    return 0;
  }

  void open(websocket::Connection& connection) override {
    connection.send_text("welcome: your token came by the " + std::string(*connection.note()));
  }

  void message(websocket::Connection& connection, websocket::Message message) override {
    connection.send(message);
  }

 private:
  struct Found {
    websocket::Text token;
    const char* from;
  };

  static Found token_of(const websocket::Request& request) {
    constexpr std::string_view scheme = "Bearer ";  // in any case (RFC 9110, section 11.1)
    auto header = request.header("Authorization");
    if (header && strncasecmp(header->data(), scheme.data(), scheme.size()) == 0)
      return {header->substr(scheme.size()), "Authorization header"};
    if (auto cookie = request.cookie("token")) return {cookie, "cookie"};
    return {request.parameter("token"), "query"};
  }

  // RFC 6750, section 3: the challenge says whether a token was there.
  static int reject(websocket::Request& request, const char* challenge, const char* why) {
    request.add_header("WWW-Authenticate", challenge);
    request.set_body("application/json", std::string("{\"error\":\"") + why + "\"}\n");
    return 401;
  }

  // Looks at every byte whatever the first ones are, so that the time it takes tells nothing of how
  // many were right.
  static bool same(std::string_view given, std::string_view secret) {
    size_t difference = given.size() ^ secret.size();
    for (size_t i = 0; i < given.size(); i++) difference |= given[i] ^ secret[i % secret.size()];
    return difference == 0;
  }

  static std::string session_id() {
    unsigned char bytes[16];
    if (getentropy(bytes, sizeof bytes)) throw std::runtime_error("no random numbers");  // a 500
    std::string id;
    for (unsigned char byte : bytes)
      id += {"0123456789abcdef"[byte >> 4], "0123456789abcdef"[byte & 15]};
    return id;
  }

  const std::string token;
};

WEBSOCKET_HANDLER(Auth)
