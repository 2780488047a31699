// Bodies of requests that this module answers itself.
#pragma once
#include <string>

#include "src/httpd/module.h"

namespace mws {

// A request that is answered with an error.
struct Refused {
  int status;
  const char* reason;
  int log_level = APLOG_INFO;
};

// At most so many bytes; too_big is the reason where there are more. Throws Refused.
std::string read_body(request_rec* r, uint64_t most, const char* too_big);

}  // namespace mws
