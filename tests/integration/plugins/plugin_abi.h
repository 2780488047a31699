/* The ABI of apache-websocket's plugins, as the tests' plugins use it. */
#ifndef PLUGIN_ABI_H
#define PLUGIN_ABI_H

#include <httpd.h>
#include <http_log.h>
#include <http_main.h>
#include <stddef.h>

enum { TEXT = 0, BINARY = 128, CLOSE = 255, PING = 256, PONG = 257 };

typedef struct Server Server;
struct Server {
  unsigned size, version;
  struct State *state;
  request_rec *(*request)(const Server *);
  const char *(*header_get)(const Server *, const char *);
  void (*header_set)(const Server *, const char *, const char *);
  size_t (*protocol_count)(const Server *);
  const char *(*protocol_index)(const Server *, size_t);
  void (*protocol_set)(const Server *, const char *);
  size_t (*send)(const Server *, int, const unsigned char *, size_t);
  void (*close)(const Server *);
};

typedef struct Plugin Plugin;
struct Plugin {
  unsigned size, version;
  void (*destroy)(Plugin *);
  void *(*on_connect)(const Server *);
  size_t (*on_message)(void *, const Server *, int, unsigned char *, size_t);
  void (*on_disconnect)(void *, const Server *);
};

#define EXPORT __attribute__((visibility("default")))

/* Of the main server, so that it can be done without a request. */
#define SAY(...) ap_log_error(__FILE__, __LINE__, APLOG_NO_MODULE, APLOG_NOTICE, 0, ap_server_conf, __VA_ARGS__)

static inline size_t send_text(const Server *server, const char *text, size_t size) {
  return server->send(server, TEXT, (const unsigned char *)text, size);
}

#endif
