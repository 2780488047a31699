// The resident mooring: a connection stays on the thread that brought it, over httpd's filter
// chain. For HTTP/2 streams and for connections with filters that this module does not know.
#pragma once
#include <memory>

#include "src/engine/open_counts.h"
#include "src/engine/transport.h"
#include "src/httpd/module.h"

namespace mws {

// Throws NoRoom, or std::system_error when there is no descriptor left, or nothing to wait for the
// client by.
std::unique_ptr<Transport> resident_transport(request_rec* r, const OpenCounts::Newcomer& newcomer);

// After the 101: readies the filter chain to carry WebSocket frames.
void prepare_residence(request_rec* r);

}  // namespace mws
