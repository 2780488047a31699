// Plugins written for apache-websocket, an older WebSocket module for httpd: their ABI, and the
// callbacks that make handlers of them.
//
// Such a plugin is called by one thread at a time for a connection. It may block, may send from
// threads of its own, and may use httpd's request for as long as the connection lives. So each of
// its connections stays on the thread that brought it, unless the configuration says that it does
// none of this.
#pragma once
#include <cstddef>
#include <string>

#include "mod_websocket/handler_abi.h"

namespace mws {

struct PluginServer;
struct PluginState;

// What the plugin's function returns.
struct Plugin {
  unsigned size, version;                           // version: 0
  void (*destroy)(Plugin* plugin);                  // before it is unloaded
  void* (*on_connect)(const PluginServer* server);  // NULL refuses
  size_t (*on_message)(void* own, const PluginServer* server, int type, unsigned char* data,
                       size_t size);  // required
  void (*on_disconnect)(void* own, const PluginServer* server);
};

enum PluginType : int {
  kPluginText = 0,
  kPluginBinary = 128,
  kPluginClose = 255,
  kPluginPing = 256,
  kPluginPong = 257,
};

// What it is given, one for each connection, until on_disconnect has returned.
struct PluginServer {
  unsigned size, version;  // version: 1
  PluginState* state;
  void* (*request)(const PluginServer* server);  // httpd's request_rec
  const char* (*header_get)(const PluginServer* server, const char* name);
  void (*header_set)(const PluginServer* server, const char* name, const char* value);
  size_t (*protocol_count)(const PluginServer* server);
  const char* (*protocol_index)(const PluginServer* server, size_t index);
  void (*protocol_set)(const PluginServer* server, const char* protocol);
  size_t (*send)(const PluginServer* server, int type, const unsigned char* data, size_t size);
  void (*close)(const PluginServer* server);
};

// What is wrong with a table of version 0; empty if nothing is.
std::string wrong_with_plugin(const Plugin& plugin);

// The callbacks of its handlers. Their state is the Handler.
ws_handler plugin_callbacks();

}  // namespace mws
