// The functions that handlers call: the wall between the ABI and the server. Every argument is
// checked there; behind it nothing can go wrong by a handler's mistake.
#pragma once
#include "mod_websocket/handler_abi.h"

namespace mws {

// The table given to handlers, but for log, which is each library's own.
ws_host host_functions();

}  // namespace mws
