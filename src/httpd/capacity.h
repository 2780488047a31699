// How many WebSockets the server can hold: it is their file descriptors that set the limit.
#pragma once
#include "src/httpd/module.h"

namespace mws {

// What the MPM answers to a query, AP_MPMQ_…; 0 where it has no answer.
int mpm_number(int query);
bool is_event_mpm();

// The process that this child was made by, or is.
pid_t parent_process();

// How many of its descriptors a process has for WebSockets; INT_MAX: as many as it likes.
int descriptors_for_websockets();
// In a child that begins: keeps some descriptors for HTTP. httpd gives a child up that can accept
// no connection, and refuses requests whose files it cannot open.
void take_descriptor_limit();
// A duplicate of the descriptor for a WebSocket. Throws NoRoom when there is none left but those
// that are kept, std::system_error when there is none at all. Any thread.
int duplicate_descriptor(int descriptor);

// Hook, before the children are made: says how many WebSockets the server can hold, and warns of
// what keeps it from its best.
int prepare_children(apr_pool_t* pconf, apr_pool_t* plog, apr_pool_t* ptemp, server_rec* s);

}  // namespace mws
