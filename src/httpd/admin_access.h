// Who may list connections and close them through the status: users that httpd has authenticated
// for it, from pages of this server, who have been given a token.
#pragma once
#include <string>
#include <string_view>

#include "src/httpd/module.h"

namespace mws {

// What is amiss, or nullptr.
const char* why_no_admin(request_rec* r);

// Of the user, for an hour or two. Empty if there is none to be had.
std::string admin_token(request_rec* r);
bool is_admin_token(request_rec* r, std::string_view token);

}  // namespace mws
