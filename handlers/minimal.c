/* The smallest handler, in C: greets a client, then counts the bytes of each of its messages. */
#include <mod_websocket/handler_abi.h>
#include <stdio.h>

static const ws_host* host;

static void greet(void* state, ws_connection* connection) {
  (void)state;
  host->send(connection, WS_TEXT, "hello", 5, 0);
}

static void count(void* state, ws_connection* connection, ws_type type, const void* data,
                  size_t size) {
  char line[64];
  int length = snprintf(line, sizeof line, "%lu bytes", (unsigned long)size);
  (void)state, (void)type, (void)data;
  host->send(connection, WS_TEXT, line, (size_t)length, 0);
}

static const ws_handler handler = {
    .size = sizeof(ws_handler),
    .abi = WS_ABI_VERSION,
    .open = greet,
    .message = count,
};

WS_EXPORT const ws_handler* websocket_handler(const ws_host* given);

const ws_handler* websocket_handler(const ws_host* given) {
  host = given;
  return &handler;
}
