/* Tables of callbacks, good and bad, each behind a symbol of its own. */
#include <mod_websocket/handler_abi.h>
#include <stddef.h>
#include <string.h>

static const ws_host* host;

static int configure(const ws_config* config, void** state, char* error, size_t error_size) {
  const char* fail = host->param(config, "fail");
  static const char* state_text = "state";
  *state = (void*)state_text;
  host->log(host, WS_INFO, "configure");
  if (!fail) return 0;
  if (!strcmp(fail, "long")) memset(error, 'x', error_size);
  else strncpy(error, fail, error_size);
  return -7;
}

static void shutdown(void* state) { host->log(host, WS_INFO, state ? state : "shutdown"); }

static int handshake(void* state, ws_request* request) {
  ws_text status = host->request_header(request, "Status");
  int number = 0;
  (void)state;
  for (; status.size; status.size--) number = 10 * number + *status.data++ - '0';
  return number;
}

static void open(void* state, ws_connection* connection) {
  (void)state, (void)connection;
  host->log(host, WS_INFO, "open");
}

static void message(void* state, ws_connection* connection, ws_type type, const void* data,
                    size_t size) {
  (void)state, (void)size;
  host->log(host, WS_INFO, "message");
  host->send(connection, type, data, size, 0);
}

static void close(void* state, ws_connection* connection, uint16_t code, const char* reason,
                  size_t reason_size, int clean) {
  (void)state, (void)connection, (void)code, (void)reason, (void)reason_size, (void)clean;
  host->log(host, WS_INFO, "close");
}

#define TABLE(SIZE, ABI)                                                                        \
  {                                                                                             \
    SIZE, ABI, 0, NULL, configure, shutdown, handshake, open, message, close, NULL, NULL, NULL, \
        NULL, NULL, NULL, NULL                                                                  \
  }

#define ENTRY(NAME)                                       \
  WS_EXPORT const ws_handler* NAME(const ws_host* given); \
  const ws_handler* NAME(const ws_host* given) {          \
    host = given;                                         \
    host->log(host, WS_INFO, #NAME);                      \
    return (const ws_handler*)&NAME##_table;              \
  }

static const ws_handler whole_table = TABLE(sizeof(ws_handler), WS_ABI_VERSION);
ENTRY(whole)
static const ws_handler abi_zero_table = TABLE(sizeof(ws_handler), 0);
ENTRY(abi_zero)
static const ws_handler abi_too_new_table = TABLE(sizeof(ws_handler), WS_ABI_VERSION + 1);
ENTRY(abi_too_new)

/* Compiled against a header that knew no close; what lies behind the table is not its own. */
static const ws_handler without_close_table = TABLE(offsetof(ws_handler, close), 1);
ENTRY(without_close)
static const ws_handler half_of_close_table = TABLE(offsetof(ws_handler, close) + 4, 1);
ENTRY(half_of_close)
static const ws_handler without_message_table = TABLE(offsetof(ws_handler, message), 1);
ENTRY(without_message)
static const ws_handler size_zero_table = TABLE(0, 1);
ENTRY(size_zero)

/* Compiled against a header of the future. */
static const struct {
  ws_handler known;
  void* unknown[8];
} larger_table = {TABLE(sizeof larger_table, WS_ABI_VERSION), {(void*)&host, NULL}};
ENTRY(larger)

static const ws_handler only_message_table = {
    .size = sizeof(ws_handler), .abi = WS_ABI_VERSION, .message = message};
ENTRY(only_message)
static const ws_handler message_null_table = {
    .size = sizeof(ws_handler), .abi = WS_ABI_VERSION, .open = open, .close = close};
ENTRY(message_null)

static int forge(void* state, ws_request* request) {
  host->accept_subprotocol(request, "chat\r\nX-Split: yes");
  return handshake(state, request);
}
static const ws_handler forges_table = {
    .size = sizeof(ws_handler), .abi = WS_ABI_VERSION, .handshake = forge, .message = message};
ENTRY(forges)

/* Logs what it may not. */
WS_EXPORT const ws_handler* logs_oddly(const ws_host* given);
const ws_handler* logs_oddly(const ws_host* given) {
  given->log(NULL, WS_ERROR, "lost");
  given->log(given, WS_ERROR, NULL);
  given->log(given, (ws_level)99, "no such level");
  given->log(given, (ws_level)-1, "nor this");
  given->log(given, WS_WARNING, "%s%n");
  return &only_message_table;
}

WS_EXPORT const ws_handler* returns_null(const ws_host* given);
const ws_handler* returns_null(const ws_host* given) {
  (void)given;
  return NULL;
}

/* Asks for the handle only when the connection has ended. */
static ws_handle late;
static void keep_handle(void* state, ws_connection* connection, uint16_t code, const char* reason,
                        size_t reason_size, int clean) {
  (void)state, (void)code, (void)reason, (void)reason_size, (void)clean;
  late = host->handle(connection);
}
static void tell_of_handle(void* state) {
  (void)state;
  host->log(host, WS_INFO, host->handle_is_open(late) ? "open for ever" : "gone");
}
static const ws_handler handle_in_close_table = {.size = sizeof(ws_handler),
                                                 .abi = WS_ABI_VERSION,
                                                 .shutdown = tell_of_handle,
                                                 .message = message,
                                                 .close = keep_handle};
ENTRY(handle_in_close)
