// The detached mooring: a connection leaves httpd when httpd is done with it, and a loop takes it.
//
// A hold is the first thing in every connection's pool, so that its cleanup is the last: when it
// runs, all of httpd's own are over. Nothing of httpd touches the connection after it, so there is
// no race to lose.
#pragma once
#include <openssl/ssl.h>

#include <memory>

#include "src/engine/connection.h"
#include "src/engine/open_counts.h"
#include "src/httpd/module.h"

namespace mws {

int place_hold(conn_rec* c, void* socket);

// mod_ssl's optional hook pre_handshake: the one way to get at a connection's TLS session.
int remember_tls_session(conn_rec* c, SSL* session, int is_proxy);
using ssl_HOOK_pre_handshake_t = int(conn_rec*, SSL*, int);

// Why the connection cannot be detached, for the log; nullptr if it can.
const char* must_stay(request_rec* r);

// For a connection that stays: mod_ssl takes a message of the TLS protocol's own, such as a key
// update, for the end of what has arrived; OpenSSL is to read on behind it.
void keep_tls_reading(conn_rec* c);

// A transport over a duplicate of the connection's socket, and its TLS session if it has one.
// Throws NoRoom, or std::system_error when there is no descriptor left.
std::unique_ptr<Transport> detached_transport(conn_rec* c, const OpenCounts::Newcomer& newcomer);

// After the 101: takes what the client has sent already, and makes httpd forget the connection. The
// loop gets it as soon as httpd is done with the connection.
void detach(request_rec* r, std::unique_ptr<Connection> connection);

}  // namespace mws
