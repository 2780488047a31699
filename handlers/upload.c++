// Takes messages of any length in little memory: fragment gets each one in pieces, as its bytes
// arrive, and all there is to remember is the size and the checksum so far. The answer follows the
// last piece:
//
//     {"bytes":1048576,"crc32":"a738ea1c","pieces":17}
//
// How long a message may be is WebSocketMaxMessage's to say, 1 MiB by default. Raising it to
// 4 GB costs no memory here, though it would for a handler that has message.
#include <mod_websocket/handler.h>

#include <array>

// CRC-32 as in zip and PNG (ISO 3309).
constexpr auto kCrcTable = [] {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; i++) {
    table[i] = i;
    for (int bit = 0; bit < 8; bit++) table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0xEDB88320 : 0);
  }
  return table;
}();

struct Upload : websocket::Handler {
  void fragment(websocket::Connection& connection, websocket::Fragment piece) override {
    // A piece is at most as long as the server's buffer, and need not be a frame of the client's.
    if (piece.first) connection.emplace<Received>();
    Received& received = *connection.data<Received>();
    received.bytes += piece.data.size();
    received.pieces++;
    for (unsigned char byte : piece.data)
      received.crc = received.crc >> 8 ^ kCrcTable[(received.crc ^ byte) & 255];
    if (piece.last) connection.send_text(received.summary());
  }

  // A message that is cut off has no last piece. What would have to be undone, a file half
  // written for instance, is undone by the destructor of what emplace made.

 private:
  struct Received {
    uint64_t bytes = 0, pieces = 0;
    uint32_t crc = ~0u;

    std::string summary() const {
      char text[100];
      snprintf(text, sizeof text, "{\"bytes\":%llu,\"crc32\":\"%08x\",\"pieces\":%llu}",
               static_cast<unsigned long long>(bytes), ~crc,
               static_cast<unsigned long long>(pieces));
      return text;
    }
  };
};

WEBSOCKET_HANDLER(Upload)
