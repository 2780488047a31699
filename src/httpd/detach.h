// The detached mooring: a connection leaves httpd when httpd is done with it, and a loop takes it.
//
// A hold is the first thing in every connection's pool, so that its cleanup is the last: when it
// runs, all of httpd's own are over. Nothing of httpd touches the connection after it, so there is
// no race to lose.
#pragma once
#include <memory>

#include "src/engine/connection.h"
#include "src/httpd/module.h"

namespace mws {

int place_hold(conn_rec* c, void* socket);

// Nothing if the connection can be detached, or the name of what keeps it from that: something on
// the connection that would have to see the bytes.
const char* must_stay(request_rec* r);

// A duplicate of the connection's socket as a transport. Throws std::system_error when there is no
// descriptor left.
std::unique_ptr<Transport> detached_transport(conn_rec* c);

// After the 101: takes what the client has sent already, and makes httpd forget the connection. The
// loop gets it as soon as the request is over.
void detach(request_rec* r, std::unique_ptr<Connection> connection);

}  // namespace mws
