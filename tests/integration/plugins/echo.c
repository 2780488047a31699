/* The least: no on_connect, no on_disconnect, no destroy. */
#include "plugin_abi.h"

static size_t echo(void *own, const Server *server, int type, unsigned char *data, size_t size) {
  if (own) return server->send(server, TEXT, (const unsigned char *)"not NULL", 8);
  return server->send(server, type, data, size);
}

static Plugin plugin = {sizeof(Plugin), 0, NULL, NULL, echo, NULL};

EXPORT Plugin *echo_init(void);
EXPORT Plugin *echo_init(void) { return &plugin; }
