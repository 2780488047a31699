// The error log of the main server, for the layers below and for what belongs to no request.
#pragma once
#include "src/base/log.h"

namespace mws {

LogSink& server_log();  // any thread

}  // namespace mws
