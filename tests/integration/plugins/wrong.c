/* Tables that are none. */
#include "plugin_abi.h"

static size_t on_message(void *own, const Server *server, int type, unsigned char *data, size_t size) {
  (void)own, (void)server, (void)type, (void)data;
  return size;
}

static Plugin small = {sizeof(Plugin) - 1, 0, NULL, NULL, on_message, NULL};
static Plugin deaf = {sizeof(Plugin), 0, NULL, NULL, NULL, NULL};
static Plugin next = {sizeof(Plugin), 7, NULL, NULL, on_message, NULL};

EXPORT Plugin *small_init(void);
EXPORT Plugin *small_init(void) { return &small; }
EXPORT Plugin *deaf_init(void);
EXPORT Plugin *deaf_init(void) { return &deaf; }
EXPORT Plugin *next_init(void);
EXPORT Plugin *next_init(void) { return &next; }
EXPORT Plugin *null_init(void);
EXPORT Plugin *null_init(void) { return NULL; }
