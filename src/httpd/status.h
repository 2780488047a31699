// SetHandler websocket-status: what the server's WebSockets do, for Prometheus, as JSON, as a page,
// and every second through a WebSocket on the same path (docs/operations.md). On httpd's threads.
#pragma once
#include <string>
#include <string_view>

#include "src/httpd/metrics.h"
#include "src/httpd/module.h"

namespace mws {

constexpr const char* kStatusHandler = "websocket-status";
constexpr const char* kStatusSubprotocol = "websocket-status.v1";

// Hook for the handler, before upgrade's.
int serve_status(request_rec* r);
// mod_status's optional hook: a section of its page.
int add_to_server_status(request_rec* r, int flags);

// Answers; a status that is no success goes with a text or JSON too.
int send_status(request_rec* r, int status, const char* type, std::string_view body);

// Listing connections and closing them: whether the request asks for that, and the answer.
bool is_for_admin(request_rec* r);
int serve_admin(request_rec* r);

// The contents. Throw std::bad_alloc.
std::string status_prometheus(const Snapshot& now);
std::string status_json(const Snapshot& now);
// Serves the WebSocket to who asks for one.
int feed_status(request_rec* r);

}  // namespace mws
