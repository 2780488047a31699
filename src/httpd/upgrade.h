// The opening handshake in httpd's request cycle.
#pragma once
#include "src/engine/connection.h"
#include "src/httpd/config.h"

namespace mws {

// Hook for the type of what is served, before others: what the file system holds under the name of
// a WebSocket, or of a place to publish, does not count, so that the request is not redirected to a
// directory's index, to a FallbackResource, or to a name much like it.
int ignore_files(request_rec* r);

// Handler hook, before others: takes the requests that ask for a WebSocket where one is served.
int upgrade(request_rec* r);

// Handler hook, after the others: a plain request for a WebSocket where nothing else is there.
int answer_plain_request(request_rec* r);

// For a WebSocket that this module itself serves: whether the request asks for one, and its opening
// handshake. The endpoint outlives all connections; the subprotocol is chosen where it is offered.
bool is_for_internal_websocket(request_rec* r);
int open_internal_websocket(request_rec* r, Endpoint& endpoint, const char* subprotocol);

// Whether pages of the request's origin may connect to this location. The default of a browser's
// request is to be from anywhere; the server has to look (RFC 6455 §10.2).
bool origin_may_connect(request_rec* r, const LocationConfig& location);

}  // namespace mws
