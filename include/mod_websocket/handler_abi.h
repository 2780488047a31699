/*
 * What a mod_websocket handler and the server say to each other: C99, ABI version 2.
 *
 * A handler is a shared object that exports one function
 *
 *     const ws_handler *websocket_handler(const ws_host *host);
 *
 * (or another name, the second argument of the directive WebSocketHandler). It is called once each
 * time the object is loaded and returns a table of callbacks that lives as long as the object is
 * loaded; NULL refuses to load. The host table lives as long.
 *
 * Threads
 *   configure, shutdown   the process that reads the configuration, while it has no connection
 *   handshake             a thread of the HTTP server, several at a time; it may block
 *   all other callbacks   one at a time for a connection and in order, for different connections at
 *                         the same time, so what connections share needs a lock. They run on the
 *                         event loop that owns the connection and must not block, as they hold up
 *                         all of its other connections; with WS_BLOCKING, or where WebSocketWorkers
 *                         is set, they run on a pool of threads and may.
 * Functions of the host that take a ws_connection may be called only inside that connection's own
 * callbacks, on the thread that runs them; those that take a ws_request only inside of handshake;
 * those that take a ws_config only inside of configure. Those that take a ws_handle, a ws_buffer or
 * a ws_host are for every thread at any time. None of them waits for a client or the network. Texts
 * and bytes that they take are the caller's again when they return, unless they say otherwise.
 *
 * Errors. A function of the host checks what it is given. A mistake, such as a NULL, a text that is
 * not UTF-8, the wrong thread, or a connection that has been closed and freed, is logged with the
 * handler's file and location, and answered with an error; nothing else happens. Not found out is
 * a ws_config that is used after configure has returned. No C++ exception
 * may leave a callback: one that does is logged, and the connection closed with 1011 (the opening
 * handshake answered with 500). None leaves a function of the host.
 *
 * Both tables start with their size in bytes and their ABI version. New fields go to the end: a
 * handler compiled against an older header keeps working, and a callback that a table is too short
 * to hold counts as NULL. Every callback but the ones said to be required may be NULL.
 *
 * ABI versions
 *   1  the first
 *   2  topics: subscribe, unsubscribe, handle_subscribe, handle_unsubscribe and publish of the
 *      host, subscribed and gap of the handler, WS_LOCAL_ONLY, WS_LIMIT
 */
#ifndef MOD_WEBSOCKET_HANDLER_ABI_H
#define MOD_WEBSOCKET_HANDLER_ABI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WS_ABI_VERSION 2u
#define WS_EXPORT __attribute__((visibility("default")))

/* Opaque. A ws_connection is valid from its open to the return of its close callback. */
typedef struct ws_config ws_config;
typedef struct ws_request ws_request;
typedef struct ws_connection ws_connection;
typedef struct ws_buffer ws_buffer;
typedef struct ws_host ws_host;

/* Names a connection, for every thread and for as long as one likes: a value to be copied, with
   nothing to free. Once the connection is gone every use of it answers WS_CLOSED; no other
   connection of the process ever gets the same id. {0} names none. */
typedef struct ws_handle {
  uint64_t id;
} ws_handle;

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
  /* Done. For send: the system has it, or is offered it when the callback has returned; should it
     not take it all, drained follows as after WS_QUEUED. */
  WS_OK = 0,
  WS_QUEUED = 1, /* send: it waits in memory until the client reads; drained follows */
  /* send: as WS_QUEUED, and more than WebSocketSendBuffer (default 1 MiB) waits: send no more until
     drained */
  WS_HIGH_WATER = 2,
  WS_LOCAL_ONLY = 3, /* publish: done on this server; others cannot be reached at this moment */
  /* Errors. Nothing was done: */
  WS_CLOSED = -1,       /* a close frame went out before, or the client is gone */
  WS_INVALID = -2,      /* an argument is not allowed; logged */
  WS_WRONG_THREAD = -3, /* not inside a callback of this connection, or it is gone; logged */
  WS_NO_MEMORY = -4,    /* as it says */
  WS_LIMIT = -5         /* a limit of the configuration is reached */
} ws_result;

/* A flag of send: the message goes out as it is, where it would else be compressed because the
   client has agreed to permessage-deflate (RFC 7692) and WebSocketCompression is on. For what does
   not get smaller, such as pictures, and for what must not be compressed together with what a
   stranger may choose, such as a secret. */
#define WS_UNCOMPRESSED 1u

/* A flag of a handler: its callbacks may block, so they run on a pool of threads (see Threads). The
   pool is the location's own; WebSocketWorkers sets its size, 16 by default. While more than 64 KiB
   or 64 events of a connection wait for the pool, the connection is not read. */
#define WS_BLOCKING 1u

/* A topic: UTF-8 of 1 to 255 bytes, any characters. It is there as soon as somebody publishes to it
   or subscribes, and is one for the whole server: all locations, virtual hosts and child processes,
   and with a WebSocketBus between servers all of them. */
#define WS_MAX_TOPIC 255u /* bytes */

/* A flag of a subscription: publications come as messages of the subprotocol topics.v1, JSON with
   topic and id, from which a client can go on after a reconnect; docs/topics.md. */
#define WS_ENVELOPED 1u

/* A flag of publish, beside WS_UNCOMPRESSED: it is not kept in the topic's history, so that it
   reaches only those who listen now. */
#define WS_TRANSIENT 2u

/* How a subscription begins. Size comes first: later servers may know more fields. */
typedef struct ws_subscription {
  uint32_t size;  /* sizeof(ws_subscription) */
  uint32_t flags; /* 0, or WS_ENVELOPED */
  /* With all that was published after the publication with this id. 0: with the last `last`
     publications of the history; 0 of both: with what is published from now on. */
  uint64_t since;
  uint64_t last;
} ws_subscription;

/* What became of a publication. */
typedef struct ws_published {
  uint32_t size;    /* of this */
  ws_result result; /* WS_OK or WS_LOCAL_ONLY */
  /* Ids of a topic grow. They are times in microseconds since 1970, or a little more, and fit into
     53 bits. Never 0. */
  uint64_t id;
  uint64_t subscribers; /* on this server, in all of its child processes */
} ws_published;

typedef struct ws_publishing {
  uint32_t size;  /* sizeof(ws_publishing) */
  uint32_t flags; /* 0, or of WS_UNCOMPRESSED and WS_TRANSIENT */
  /* NULL, or is called once, on any thread, be it before publish returns, when the id is known;
     what it is given is valid until it returns. It must not block. Not called where publish has
     returned an error, nor if the child process ends while the server of a WebSocketBus has not
     answered. */
  void (*done)(void* context, const ws_published* published);
  void* context;
} ws_publishing;

/* Flags of fragment. */
#define WS_FIRST 1u
#define WS_LAST 2u

/* Timers of a connection: ids from 0 to WS_TIMERS - 1. */
#define WS_TIMERS 8u

/* What is known of a request. */
typedef enum ws_fact {
  /* Kept for the connection. */
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
  WS_EXTENSIONS = 10,
  /* Behind the path of the <Location> that names the handler: "/room" of "/chat/room" for
     <Location /chat>, empty for "/chat" itself. The whole path where a regular expression, a
     wildcard or another kind of section names it. */
  WS_PATH_BELOW = 11,
  WS_LOCAL_ADDRESS = 12, /* of the server, that the client connected to; numeric */
  WS_AUTH_TYPE = 13,     /* how the user was authenticated: "Basic"; nothing without */
  WS_NOTE = 14,          /* what handshake left by set_note; nothing without */

  /* During handshake only. */
  WS_METHOD = 100,            /* "GET" (also over HTTP/2, where the client wrote CONNECT) */
  WS_URI = 101,               /* path and query as sent: "/chat/a%20room?x=1" */
  WS_EXTENSIONS_OFFERED = 102 /* Sec-WebSocket-Extensions as sent; nothing without */
} ws_fact;

/* What the server offers. All pointers are set, as far as size reaches. */
struct ws_host {
  uint32_t size; /* of this table, in bytes */
  uint32_t abi;  /* WS_ABI_VERSION of the server */

  /* Writes one line, ended by a zero byte, to the error log of the server, with the name of the
     handler whose host table is given. NULL is not written. Any thread. */
  void (*log)(const ws_host* host, ws_level level, const char* line);

  /* ---- configure ---- */

  /* The value of WebSocketParam KEY, ended by a zero byte; NULL if there is none. Valid until
     shutdown has returned. */
  const char* (*param)(const ws_config* config, const char* key);

  /* ---- handshake (RFC 6455, section 4.2) ---- */

  /* A fact; a header (names in any case; several lines joined by ", "); the subprotocol with the
     index (from 0, in the client's order of preference); a cookie as sent, quotes and all (RFC
     6265, section 4.1.1); a parameter of the query, decoded. Of several with the same name the
     first. data is NULL where there is none. Valid until handshake returns. */
  ws_text (*request_fact)(const ws_request* request, ws_fact fact);
  ws_text (*request_header)(const ws_request* request, const char* name);
  ws_text (*request_subprotocol)(const ws_request* request, size_t index);
  ws_text (*request_cookie)(const ws_request* request, const char* name);
  ws_text (*request_parameter)(const ws_request* request, const char* name);
  /* Calls the function, before it returns, for each header that the client sent; several lines of
     one name come as one, joined by ", ". Name and value end with a zero byte and are valid until
     handshake returns. */
  void (*request_headers)(const ws_request* request,
                          void (*each)(void* context, const char* name, const char* value),
                          void* context);

  /* Chooses a subprotocol (RFC 6455, section 4.2.2 item 5); without a call none is. WS_INVALID,
     and nothing logged, if the client did not offer it. The last call counts. One with a line
     break or another control character is an error of the handler: the client gets 500. */
  ws_result (*accept_subprotocol)(ws_request* request, const char* subprotocol);
  /* Adds a line to the answer, be it 101 or a rejection, such as Set-Cookie. The texts are copied.
     WS_INVALID: a name that is no token, a value with a control character, or one of the headers
     that are the server's own (Connection, Upgrade, Content-Length, Transfer-Encoding, Trailer and
     all that start with Sec-WebSocket-). */
  ws_result (*add_header)(ws_request* request, const char* name, const char* value);
  /* The body of a rejection, less than 2 GiB, copied; without it the server writes its usual one.
     content_type: "text/plain" and such. The last call counts. */
  ws_result (*set_body)(ws_request* request, const char* content_type, const void* data,
                        size_t size);
  /* Leaves a text for the connection, to be had as fact WS_NOTE: a way to hand on what was looked
     up. The text is copied, at most 64 KiB. The last call counts. */
  ws_result (*set_note)(ws_request* request, const void* data, size_t size);

  /* ---- a connection, inside of its callbacks ---- */

  /* Sends a message in one frame (RFC 6455, section 5.6). The memory is the caller's again when the
     call returns. flags: 0, or WS_UNCOMPRESSED. WS_OK, WS_QUEUED, WS_HIGH_WATER or an error;
     WS_INVALID for another type or flag, NULL with a size, or a text that is not UTF-8. Nothing is
     ever dropped, so who sends on past WS_HIGH_WATER fills the memory; but with WebSocketSlowClient
     close the connection is closed then, and with drop the message is not sent: WS_LIMIT. */
  ws_result (*send)(ws_connection* connection, ws_type type, const void* data, size_t size,
                    uint32_t flags);
  /* Sends a buffer, without copying it. As send. */
  ws_result (*send_buffer)(ws_connection* connection, const ws_buffer* buffer);
  /* Sends a piece of a message, as a frame of its own (RFC 6455, section 5.4): for what is too big,
     or not known yet, as a whole. last: not 0 for the last piece. All pieces of a message have the
     same type; a text may be cut anywhere, be it inside of a character. Pieces are not compressed.
     Other messages that are sent in between wait in memory until the last piece went out; close
     drops them. As send. */
  ws_result (*send_fragment)(ws_connection* connection, ws_type type, const void* data, size_t size,
                             int last);
  /* Sends a ping (RFC 6455, section 5.5.2) with at most 125 bytes; pong follows, if the client
     lives. As send. */
  ws_result (*ping)(ws_connection* connection, const void* data, size_t size);
  /* Starts the closing handshake (RFC 6455, section 7.1.2), behind what waits to be sent; close
     follows when the client has answered, or has done nothing for 5 seconds: neither that, nor read
     16 KiB of what waits. Messages that arrive in between are dropped. code: 1000 to 1003,
     1007 to 1014 or 3000 to 4999, or 0 for a frame without a code; reason: UTF-8, at most 123
     bytes, NULL if reason_size is 0. WS_OK or an error. */
  ws_result (*close)(ws_connection* connection, uint16_t code, const char* reason,
                     size_t reason_size);
  /* Ends the connection without a closing handshake, and drops what waits to be sent. close
     follows, with 1006, once this callback has returned. WS_OK or an error. */
  ws_result (*abort)(ws_connection* connection);
  /* Bytes that were sent and wait in memory, with what the callback itself has sent so far; 0 on an
     error. */
  size_t (*buffered_amount)(const ws_connection* connection);
  /* Stops and resumes the reading of this client, which then feels TCP's own backpressure. What has
     been paused gets no message, ping, pong or end of the connection, but an error of the network;
     timers go on, and so does the closing handshake. On workers the client may have closed before
     the loop hears of the pause: close is told then, and what was read before it is dropped. WS_OK,
     also when nothing changes, or an error. */
  ws_result (*pause)(ws_connection* connection);
  ws_result (*resume)(ws_connection* connection);
  /* Calls timer once, with the id, in so many milliseconds (at least 1), instead of what was set
     for this id before; never after close. WS_OK or an error; WS_INVALID for an id of WS_TIMERS or
     more. cancel_timer: also WS_OK where none was set. */
  ws_result (*set_timer)(ws_connection* connection, uint32_t id, uint64_t in_ms);
  ws_result (*cancel_timer)(ws_connection* connection, uint32_t id);
  /* A fact, or one of the headers that the handler's table names in keep_headers. Valid until the
     close callback returns. */
  ws_text (*fact)(const ws_connection* connection, ws_fact fact);
  ws_text (*header)(const ws_connection* connection, const char* name);
  /* One pointer per connection for the handler's own use; NULL at first. The handler frees what it
     points to in close. */
  void (*set_user_data)(ws_connection* connection, void* data);
  void* (*user_data)(const ws_connection* connection);
  /* The connection's handle, always the same one; costs memory from the first call on, until the
     connection has gone. {0}: no memory, or a mistake. */
  ws_handle (*handle)(ws_connection* connection);

  /* ---- a handle, on any thread ---- */

  /* As send, send_buffer, close and buffered_amount, and in the order of the calls of one thread;
     the message is on its way to the connection's thread when the call returns. The result is what
     is known at that moment: WS_OK: nothing else waits for this client; drained follows after
     WS_QUEUED and WS_HIGH_WATER. WS_CLOSED, and nothing logged: the connection has gone or is
     closing, or the handle is {0}. What is sent through a connection inside of its callback may
     overtake what its handle sent before. */
  ws_result (*handle_send)(ws_handle handle, ws_type type, const void* data, size_t size,
                           uint32_t flags);
  ws_result (*handle_send_buffer)(ws_handle handle, const ws_buffer* buffer);
  ws_result (*handle_close)(ws_handle handle, uint16_t code, const char* reason,
                            size_t reason_size);
  /* On the way to its thread each message counts with the memory that it takes beside its bytes. 0
     if the connection is gone. */
  size_t (*handle_buffered_amount)(ws_handle handle);
  /* Runs the function as a callback of the connection, between its others, so that it may do all
     that they may. After WS_OK it is called exactly once: with NULL if the connection has gone
     meanwhile, on some thread, be it this one before the call returns. WS_OK or an error, and then
     it is never called. */
  ws_result (*handle_post)(ws_handle handle, void (*call)(ws_connection* connection, void* context),
                           void* context);
  /* Not 0 if messages could still be sent when it was asked. */
  int (*handle_is_open)(ws_handle handle);

  /* ---- a buffer: one message for many connections, on any thread ---- */

  /* Makes a message that is framed once, and compressed once for all clients that have agreed on
     the same, however often it is sent. It has one reference, the caller's. release: NULL, and the
     data is copied; or a function that is called, on any thread, with the context once nobody needs
     the data any more, which until then must not change. flags as for send. NULL, without a call of
     release: no memory, or what would be WS_INVALID for send. */
  ws_buffer* (*buffer)(const ws_host* host, ws_type type, const void* data, size_t size,
                       uint32_t flags, void (*release)(void* context), void* context);
  /* One reference more, one less. After the last one, connections that still have to send it keep
     it alive. NULL does nothing. */
  void (*buffer_retain)(ws_buffer* buffer);
  void (*buffer_release)(ws_buffer* buffer);

  /* ---- topics: what is published reaches all who have subscribed; ABI 2 ---- */

  /* Has all publications to a topic sent to the connection, each once and in order, from `how` on,
     which is NULL for what is published from now on. Inside of the connection's callbacks. The
     callback subscribed follows when what `how` asks for has been sent. Nothing happens where it
     has subscribed already. A client that does not read gets no more than 1 MiB ahead; when it
     reads again it goes on out of the topic's history, and gap tells of what is not kept there any
     more. Close ends all subscriptions. WS_OK; WS_LIMIT: of WebSocketMaxSubscriptions or
     WebSocketMaxTopics, on workers told by subscribed instead; or an error. */
  ws_result (*subscribe)(ws_connection* connection, const char* topic, size_t topic_size,
                         const ws_subscription* how);
  /* Ends it; WS_OK also where there is none. What was sent before may still wait for the client. */
  ws_result (*unsubscribe)(ws_connection* connection, const char* topic, size_t topic_size);
  /* The same on any thread. A limit is told by subscribed. */
  ws_result (*handle_subscribe)(ws_handle handle, const char* topic, size_t topic_size,
                                const ws_subscription* how);
  ws_result (*handle_unsubscribe)(ws_handle handle, const char* topic, size_t topic_size);
  /* Publishes a message to a topic. Any thread, once the server serves (not in configure). What one
     thread publishes to a topic arrives in that order. how: NULL for a message that is kept and may
     be compressed. WS_OK: it is on its way; WS_LOCAL_ONLY: it is, here, and other servers get it
     when they can be reached again, if not too much waits by then; WS_LIMIT: a message of more than
     a quarter of the size of WebSocketBus; or an error. */
  ws_result (*publish)(const ws_host* host, const char* topic, size_t topic_size, ws_type type,
                       const void* data, size_t size, const ws_publishing* how);
};

/* What the handler does. */
typedef struct ws_handler {
  uint32_t size; /* of this table, in bytes: sizeof(ws_handler) */
  uint32_t abi;  /* WS_ABI_VERSION that the handler was compiled with */

  uint64_t flags; /* 0, or WS_BLOCKING */

  /* Request headers to keep for header(): names, ended by NULL, that live as long as the table.
     NULL keeps none. */
  const char* const* keep_headers;

  /* Once per location, when the configuration is read (httpd reads it twice at startup). *state is
     handed to every other callback; it must not start threads, as processes are forked later.
     Returns 0; or anything else, with one line in error, of at most error_size bytes with its zero
     byte: the configuration is refused. */
  int (*configure)(const ws_config* config, void** state, char* error, size_t error_size);
  /* Once per successful configure, in the process that called it, when the configuration is
     dropped. */
  void (*shutdown)(void* state);

  /* A client asks for a connection; HTTP authentication and authorization have passed. Returns 0 to
     accept, or the HTTP status to reject with, 300 to 599; the client gets 500 for anything else.
     NULL accepts all. An accepted connection need not come to open: the client may be gone. */
  int (*handshake)(void* state, ws_request* request);

  /* The connection stands; the handler may send. The client may have been told so a moment ago. */
  void (*open)(void* state, ws_connection* connection);
  /* A whole message. data is valid until the call returns. Required, unless there is fragment. */
  void (*message)(void* state, ws_connection* connection, ws_type type, const void* data,
                  size_t size);
  /* The last call for the connection, exactly one for every open, also at the end of the server
     (but not if it crashes). Nothing can be sent any more; facts and user_data are still there.
     reason: UTF-8 of reason_size bytes without a zero byte, valid until the call returns. clean:
     the closing handshake was completed; code and reason are the client's (1005: it gave no code).
     Otherwise 1006, or the code that the client was sent for breaking the protocol. */
  void (*close)(void* state, ws_connection* connection, uint16_t code, const char* reason,
                size_t reason_size, int clean);

  /* If set, messages are not gathered, and message is never called: each comes in one or more
     pieces, as its bytes arrive. flags: WS_FIRST, WS_LAST, or both. Where a piece ends has nothing
     to do with the client's frames; a text, which up to here is UTF-8, may end inside of a
     character. WebSocketMaxMessage holds for the sum of the pieces and needs no memory. A message
     whose last piece never comes was cut off by the end of the connection. */
  void (*fragment)(void* state, ws_connection* connection, ws_type type, const void* data,
                   size_t size, uint32_t flags);
  /* Something had to wait to be sent, and nothing does any more: once, after however many sends
     that returned WS_QUEUED or WS_HIGH_WATER. Not after close was called. After such a
     send_fragment the messages that wait for its last piece do not count; for those drained comes
     once more. */
  void (*drained)(void* state, ws_connection* connection);
  /* A ping came (it has been answered), or a pong; not one that answers a ping of the server's own
     (WebSocketPing). At most 125 bytes, valid until the call returns. */
  void (*ping)(void* state, ws_connection* connection, const void* data, size_t size);
  void (*pong)(void* state, ws_connection* connection, const void* data, size_t size);
  /* The timer with this id is due. */
  void (*timer)(void* state, ws_connection* connection, uint32_t id);
  /* A subscription stands: what it began with has been sent, and what is published now will be; or
     result is WS_LIMIT, and there is none. id: to go on from, where no publication follows. topic
     is followed by a zero byte and valid until the call returns. ABI 2. */
  void (*subscribed)(void* state, ws_connection* connection, const char* topic, size_t topic_size,
                     ws_result result, uint64_t id);
  /* Of what was published to the topic, some was not sent to this client and is not kept any more:
     it came back too late, or reads too slowly. What is kept follows. ABI 2. */
  void (*gap)(void* state, ws_connection* connection, const char* topic, size_t topic_size);
} ws_handler;

/* The type of the exported function. */
typedef const ws_handler* (*ws_handler_function)(const ws_host* host);

#ifdef __cplusplus
}
#endif
#endif
