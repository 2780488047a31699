/* What the handler "hooks" tells a test, whose address is its parameter "hooks". */
#pragma once
#include <mod_websocket/handler_abi.h>

struct Hooks {
  const ws_host* host; /* set by configure */
  /* All callbacks of connections; number: type, close code, flags of a fragment, or timer. */
  void (*event)(Hooks* self, const char* callback, ws_connection* connection, const void* data,
                size_t size, uint32_t number);
  int (*handshake)(Hooks* self, ws_request* request);
};
