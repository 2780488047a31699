// The ids of connections: numbers of which none is given twice, be it by another child, after a
// restart or after a reboot.
#pragma once
#include <cstdint>

#include "src/httpd/module.h"

namespace mws {

// Before the children are made.
void make_connection_ids(server_rec* s);
uint64_t next_connection_id();  // any thread

// The note of a request that has it, for the access log: %{websocket-id}n.
inline constexpr const char* kIdNote = "websocket-id";

}  // namespace mws
