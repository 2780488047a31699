/*
 * What a mod_websocket handler and the server say to each other: C99, ABI version 1.
 *
 * A handler is a shared object that exports one function
 *
 *     const ws_handler *websocket_handler(const ws_host *host);
 *
 * (or another name, the second argument of the directive WebSocketHandler). It is called once each
 * time the object is loaded and returns a table of callbacks that lives as long as the object is
 * loaded; NULL refuses to load. The host table lives as long.
 *
 * Both tables start with their size in bytes and their ABI version. New fields go to the end: a
 * handler compiled against an older header keeps working, and a callback that a table is too short
 * to hold counts as NULL. Every callback but the ones said to be required may be NULL.
 *
 * Threads: configure and shutdown run in the process that reads the configuration, before any
 * connection; handshake runs on a thread of the HTTP server, several at a time, and may block;
 * open, message and close run on the thread of the event loop that owns the connection: one at a
 * time for a connection, but for different connections at the same time (several loops, and
 * connections that stay on a thread of the HTTP server, which have a loop each), so what
 * connections share needs a lock.
 * They must not block. Functions of the host that take a ws_connection may be called only from that
 * connection's own open, message and close, functions that take a ws_request only during handshake.
 *
 * No C++ exception may leave a callback; none leaves a function of the host.
 *
 * ABI versions
 *   1  the first
 */
#ifndef MOD_WEBSOCKET_HANDLER_ABI_H
#define MOD_WEBSOCKET_HANDLER_ABI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WS_ABI_VERSION 1u
#define WS_EXPORT __attribute__((visibility("default")))

/* Opaque. A connection is valid from its open to the return of its close callback. */
typedef struct ws_config ws_config;
typedef struct ws_request ws_request;
typedef struct ws_connection ws_connection;
typedef struct ws_host ws_host;

/* Bytes with their length; also followed by a zero byte. data is NULL where there is nothing. */
typedef struct ws_text {
  const char* data;
  size_t size;
} ws_text;

typedef enum ws_type {              /* RFC 6455, section 5.6 */
                       WS_TEXT = 1, /* UTF-8: checked in both directions */
                       WS_BINARY = 2
} ws_type;

typedef enum ws_level { WS_ERROR, WS_WARNING, WS_NOTICE, WS_INFO, WS_DEBUG } ws_level;

typedef enum ws_result {
  WS_OK = 0,         /* done; for send: the system has it, or will when the callback has returned */
  WS_QUEUED = 1,     /* send: it waits in memory until the client reads */
  WS_HIGH_WATER = 2, /* send: as WS_QUEUED, and more than 1 MiB waits: send no more for now */
  WS_CLOSED = -1,    /* nothing was done: a close frame went out before, or the client is gone */
  WS_INVALID = -2    /* nothing was done: an argument is not allowed */
} ws_result;

/* A flag of send: the message goes out as it is, where it would else be compressed because the
   client has agreed to permessage-deflate (RFC 7692) and WebSocketCompression is on. For what does
   not get smaller, such as pictures, and for what must not be compressed together with what a
   stranger may choose, such as a secret. */
#define WS_UNCOMPRESSED 1u

/* What is known of a request and kept for its connection. */
typedef enum ws_fact {
  WS_PATH = 0,           /* of the URL, decoded: "/chat/room" */
  WS_QUERY = 1,          /* behind the "?", as sent; empty without one */
  WS_HOST = 2,           /* of the Host header, as sent */
  WS_USER = 3,           /* whom the server authenticated; nothing without authentication */
  WS_REMOTE_ADDRESS = 4, /* of the client, numeric; mod_remoteip's where in use */
  WS_SUBPROTOCOL = 5,    /* the accepted one; nothing without */
  /* Of the TLS that the client speaks with this server; nothing without TLS. */
  WS_TLS_VERSION = 6,        /* "TLSv1.3" */
  WS_TLS_CIPHER = 7,         /* OpenSSL's name: "TLS_AES_256_GCM_SHA384" */
  WS_TLS_SERVER_NAME = 8,    /* that the client asked for (SNI); nothing if for none */
  WS_TLS_CLIENT_SUBJECT = 9, /* of its certificate: "CN=alice,O=Example"; nothing without */
  /* That server and client have agreed on, as the server answered them (RFC 6455, section 9.1;
     RFC 7692): "permessage-deflate; server_no_context_takeover"; nothing without. */
  WS_EXTENSIONS = 10
} ws_fact;

/* What the server offers. All pointers are set, as far as size reaches. */
struct ws_host {
  uint32_t size; /* of this table, in bytes */
  uint32_t abi;  /* WS_ABI_VERSION of the server */

  /* Writes one line to the error log of the server, with the name of the handler whose host table
     is given. Any thread. */
  void (*log)(const ws_host* host, ws_level level, const char* line);

  /* configure: the value of WebSocketParam KEY, NULL if there is none. Valid until shutdown. */
  const char* (*param)(const ws_config* config, const char* key);

  /* handshake: a fact, a header (names in any case; several lines joined by ", "), the subprotocol
     with the index (from 0, in the client's order of preference). data is NULL where there is none.
     Valid until handshake returns. */
  ws_text (*request_fact)(const ws_request* request, ws_fact fact);
  ws_text (*request_header)(const ws_request* request, const char* name);
  ws_text (*request_subprotocol)(const ws_request* request, size_t index);
  /* handshake: chooses a subprotocol (RFC 6455, section 4.2.2 item 5); without a call none is.
     WS_INVALID if the client did not offer it. The last call counts. One with a line break or
     another control character is an error of the handler: the client gets 500. */
  ws_result (*accept_subprotocol)(ws_request* request, const char* subprotocol);

  /* Sends a message in one frame. The memory is the caller's again when the call returns. flags: 0,
     or WS_UNCOMPRESSED. WS_OK, WS_QUEUED, WS_HIGH_WATER or WS_CLOSED; WS_INVALID for another type
     or flag, NULL with a size, or a text that is not UTF-8. */
  ws_result (*send)(ws_connection* connection, ws_type type, const void* data, size_t size,
                    uint32_t flags);
  /* Starts the closing handshake (RFC 6455, section 7.1.2); close follows when the client has
     answered, or after 5 seconds. Messages that arrive in between are dropped. code: 1000 to 1003,
     1007 to 1014 or 3000 to 4999, or 0 for a frame without a code; reason: UTF-8, at most 123
     bytes, NULL if reason_size is 0. WS_OK, WS_CLOSED, or WS_INVALID. */
  ws_result (*close)(ws_connection* connection, uint16_t code, const char* reason,
                     size_t reason_size);
  /* Bytes that were sent and wait in memory. */
  size_t (*buffered_amount)(const ws_connection* connection);
  /* A fact, or one of the headers that the handler's table names in keep_headers. Valid until the
     close callback returns. */
  ws_text (*fact)(const ws_connection* connection, ws_fact fact);
  ws_text (*header)(const ws_connection* connection, const char* name);
  /* One pointer per connection for the handler's own use; NULL at first. The handler frees what it
     points to in close. */
  void (*set_user_data)(ws_connection* connection, void* data);
  void* (*user_data)(const ws_connection* connection);
};

/* What the handler does. */
typedef struct ws_handler {
  uint32_t size; /* of this table, in bytes: sizeof(ws_handler) */
  uint32_t abi;  /* WS_ABI_VERSION that the handler was compiled with */

  /* Request headers to keep for header(): names, ended by NULL. NULL keeps none. */
  const char* const* keep_headers;

  /* Once per location, when the configuration is read (httpd reads it twice at startup). *state is
     handed to every other callback; it must not start threads, as processes are forked later.
     Returns 0, or anything else with one line in error: the configuration is refused. */
  int (*configure)(const ws_config* config, void** state, char* error, size_t error_size);
  /* Once per successful configure, in the process that called it, when the configuration is
     dropped. */
  void (*shutdown)(void* state);

  /* A client asks for a connection; HTTP authentication and authorization have passed. Returns 0 to
     accept, or the HTTP status to reject with, 400 to 599. NULL accepts all. */
  int (*handshake)(void* state, ws_request* request);
  /* The connection stands; the handler may send. */
  void (*open)(void* state, ws_connection* connection);
  /* A whole message. data is valid until the call returns. Required. */
  void (*message)(void* state, ws_connection* connection, ws_type type, const void* data,
                  size_t size);
  /* The last call for the connection, exactly one for every open. clean: the closing handshake was
     completed; code and reason are the client's (1005: it gave no code). Otherwise 1006, or
     the code that the client was sent for breaking the protocol. */
  void (*close)(void* state, ws_connection* connection, uint16_t code, const char* reason,
                size_t reason_size, int clean);
} ws_handler;

/* The type of the exported function. */
typedef const ws_handler* (*ws_handler_function)(const ws_host* host);

#ifdef __cplusplus
}
#endif
#endif
