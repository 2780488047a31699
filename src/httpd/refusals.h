// What is said of opening handshakes that are refused for a limit, or for want of resources.
#pragma once
#include <exception>

#include "src/base/counters.h"
#include "src/httpd/children.h"
#include "src/httpd/module.h"

namespace mws {

Refusal refusal_by(const std::exception& error);

// A line in the error log every now and then, for each kind of refusal, with how many there were.
void tell_no_room(request_rec* r, const NoRoom& reached);
void tell_no_room(request_rec* r, const std::exception& error);

}  // namespace mws
