// The files of the status page, which are part of the module: those of src/httpd/status/, and what
// it shares with the pages of www/.
#pragma once
#include <string_view>

namespace mws {

// By name: "status.html" is the page, which asks for the others as ?asset=NAME below its own path.
// Empty where there is none of that name.
std::string_view status_asset(std::string_view name);

// The value for Content-Type of an asset that there is.
const char* status_asset_type(std::string_view name);

// A Content-Security-Policy that allows what the page does, and no more.
inline constexpr char kStatusPolicy[] =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

}  // namespace mws
