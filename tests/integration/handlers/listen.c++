// Subscribes to the topic that the path below the location names, and says where the subscription
// stands: "subscribed ID". ?since=ID and ?last=N are how it begins; ?enveloped=1 asks for envelopes.
#include <mod_websocket/handler.h>

#include <string>

struct Listen : websocket::Handler {
  int handshake(websocket::Request& request) override {
    request.set_note(std::string(request.parameter("since").value_or("0")) + " " +
                     std::string(request.parameter("last").value_or("0")) + " " +
                     std::string(request.parameter("enveloped").value_or("0")));
    return 0;
  }
  void open(websocket::Connection& connection) override {
    std::string note(connection.note().value_or(""));
    size_t end = 0;
    websocket::Subscription how;
    how.since = std::stoull(note, &end);
    note = note.substr(end);
    how.last = uint32_t(std::stoul(note, &end));
    how.enveloped = note.back() == '1';
    connection.subscribe(connection.path_below().substr(1), how);
  }
  void subscribed(websocket::Connection& connection, std::string_view, ws_result result,
                  uint64_t id) override {
    connection.send_text(result < 0 ? "refused" : "subscribed " + std::to_string(id));
  }
  void gap(websocket::Connection& connection, std::string_view) override {
    connection.send_text("gap");
  }
};

WEBSOCKET_HANDLER(Listen)
