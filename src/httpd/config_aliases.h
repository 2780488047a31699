// The directives of apache-websocket, an older WebSocket module, that are taken as it took them.
#pragma once
#include "src/httpd/module.h"

namespace mws {

const char* set_origin_check(cmd_parms* cmd, void* config, const char* mode);
const char* add_trusted_origin(cmd_parms* cmd, void* config, const char* origin);
const char* set_reserved_close_codes(cmd_parms* cmd, void* config, int on);

}  // namespace mws
