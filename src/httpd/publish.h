// SetHandler websocket-publish: publishes to topics, and asks about them, by plain HTTP requests
// (docs/publish.md). On httpd's threads.
#pragma once
#include "src/httpd/module.h"

namespace mws {

// Hook.
int publish_over_http(request_rec* r);

}  // namespace mws
