/* A handler as it was written for ABI 1: it uses every function and has every callback. It is
   compiled against the header next to it and must work with every later server. */
#include "handler_abi.h"

#include <stdlib.h>
#include <string.h>

static const ws_host* host;
static ws_buffer* welcome;

static void released(void* context) { host->log(host, WS_DEBUG, context); }

static int configure(const ws_config* config, void** state, char* error, size_t error_size) {
  const char* greeting = host->param(config, "greeting");
  if (!greeting) {
    strncpy(error, "greeting is missing", error_size);
    return 1;
  }
  *state = (void*)greeting;
  welcome = host->buffer(host, WS_TEXT, greeting, strlen(greeting), WS_UNCOMPRESSED, released,
                         (void*)"released");
  host->buffer_retain(welcome);
  host->buffer_release(welcome);
  return 0;
}

static void shutdown(void* state) {
  host->buffer_release(welcome);
  host->log(host, WS_INFO, state);
}

static void count(void* context, const char* name, const char* value) {
  (void)name, (void)value;
  ++*(int*)context;
}

static int handshake(void* state, ws_request* request) {
  int headers = 0;
  ws_text cookie = host->request_cookie(request, "sid");
  ws_text room = host->request_parameter(request, "room");
  ws_text offered = host->request_subprotocol(request, 0);
  (void)state;
  host->request_headers(request, count, &headers);
  if (!headers || !host->request_header(request, "Host").data || !cookie.data || !room.data) {
    host->set_body(request, "text/plain", "no", 2);
    return 403;
  }
  if (host->request_fact(request, WS_METHOD).size != 3) return 405;
  if (host->accept_subprotocol(request, offered.data) != WS_OK) return 400;
  if (host->add_header(request, "X-Room", room.data) != WS_OK) return 500;
  if (host->set_note(request, cookie.data, cookie.size) != WS_OK) return 500;
  return 0;
}

static void posted(ws_connection* connection, void* context) {
  if (connection) host->send(connection, WS_TEXT, context, strlen(context), 0);
}

static void open(void* state, ws_connection* connection) {
  ws_handle handle = host->handle(connection);
  ws_text note = host->fact(connection, WS_NOTE), kept = host->header(connection, "Host");
  host->set_user_data(connection, state);
  host->send_buffer(connection, welcome);
  host->send(connection, WS_TEXT, note.data, note.size, 0);
  host->send(connection, WS_TEXT, kept.data, kept.size, WS_UNCOMPRESSED);
  if (!host->handle_is_open(handle)) return;
  host->handle_send(handle, WS_BINARY, "h", 1, 0);
  host->handle_send_buffer(handle, welcome);
  host->handle_post(handle, posted, (void*)"posted");
  host->set_timer(connection, WS_TIMERS - 1, 60000);
  host->cancel_timer(connection, WS_TIMERS - 1);
  host->set_timer(connection, 1, 1);
  host->pause(connection);
}

static void timer(void* state, ws_connection* connection, uint32_t id) {
  (void)state;
  if (id == 1) host->send(connection, WS_TEXT, "timer", 5, 0);
  host->resume(connection);
}

static void drained(void* state, ws_connection* connection) {
  (void)state;
  host->log(host, WS_NOTICE, host->buffered_amount(connection) ? "queued" : "drained");
}

static void message(void* state, ws_connection* connection, ws_type type, const void* data,
                    size_t size) {
  if (host->user_data(connection) != state) host->abort(connection);
  host->send_fragment(connection, type, data, size, 0);
  host->send_fragment(connection, type, "!", 1, 1);
}

static void fragment(void* state, ws_connection* connection, ws_type type, const void* data,
                     size_t size, uint32_t flags) {
  message(state, connection, type, data, size);
  if ((flags & (WS_FIRST | WS_LAST)) == (WS_FIRST | WS_LAST)) host->ping(connection, "p", 1);
}

static void ping(void* state, ws_connection* connection, const void* data, size_t size) {
  (void)state;
  host->send(connection, WS_BINARY, data, size, 0);
}

static void pong(void* state, ws_connection* connection, const void* data, size_t size) {
  (void)state, (void)data, (void)size;
  if (host->handle_buffered_amount(host->handle(connection)) == 0)
    host->close(connection, 4000, "pong", 4);
  host->handle_close(host->handle(connection), 4001, NULL, 0);
}

static void close(void* state, ws_connection* connection, uint16_t code, const char* reason,
                  size_t reason_size, int clean) {
  (void)state, (void)connection, (void)reason, (void)reason_size;
  host->log(host, WS_WARNING, code == 4000 && clean ? "closed" : "lost");
}

static const char* const kept[] = {"Host", NULL};

#define TABLE(FLAGS, FRAGMENT)                                                             \
  {                                                                                        \
    sizeof(ws_handler), WS_ABI_VERSION, FLAGS, kept, configure, shutdown, handshake, open, \
        message, close, FRAGMENT, drained, ping, pong, timer                               \
  }

WS_EXPORT const ws_handler* websocket_handler(const ws_host* given);
const ws_handler* websocket_handler(const ws_host* given) {
  static const ws_handler table = TABLE(0, NULL);
  if (given->size < sizeof(ws_host) || given->abi < WS_ABI_VERSION) return NULL;
  host = given;
  return &table;
}

/* In pieces, on workers. */
WS_EXPORT const ws_handler* blocking(const ws_host* given);
const ws_handler* blocking(const ws_host* given) {
  static const ws_handler table = TABLE(WS_BLOCKING, fragment);
  host = given;
  return &table;
}
