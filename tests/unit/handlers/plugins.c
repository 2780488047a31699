/* A plugin of apache-websocket, whose table the test fills. */
#include <mod_websocket/handler_abi.h>

struct plugin {
  unsigned size, version;
  void (*callbacks[4])(void);
};

WS_EXPORT struct plugin plugin;
WS_EXPORT struct plugin* plugin_init(void);
struct plugin* plugin_init(void) {
  return &plugin;
}
