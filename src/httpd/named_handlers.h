// The handlers that the configuration names: noted while it is read, then loaded and configured.
#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "src/handler/handler.h"
#include "src/httpd/config.h"

namespace mws {

// A new configuration is about to be read.
void begin_named_handlers(apr_pool_t* pconf);
// A WebSocketHandler directive in this section.
const HandlerUse* name_handler(cmd_parms* cmd, const LocationConfig& section, const char* name,
                               const char* symbol);
// A directive in this section that means something to a handler of the same section only.
void needs_handler(const cmd_parms* cmd, const LocationConfig& section);
// Loads and configures every handler that is named, so that a bad one fails the configuration test.
// False, and logged, if one is bad.
bool load_named_handlers(apr_pool_t* ptemp, server_rec* main_server);

// The handler of the request's location; nullptr where there is none.
Handler* handler_for(request_rec* r, const LocationConfig& location);

// Numbers their locations (sites.h); in the parent, when they are loaded.
void number_sites(server_rec* main_server);
// That of the request's location; kUncounted where there is no handler.
unsigned site_number_for(request_rec* r, const LocationConfig& location);

// The path of a <Location> in which a directive stands, without a slash at its end. Nothing in a
// section of another kind, or where it is a pattern.
std::optional<std::string> plain_path_of(const cmd_parms* cmd);
// What a path has behind that prefix, "/room", or nothing; all of it where it is not below.
const char* below_prefix(const char* path, std::string_view prefix);
// What a request's path has behind that of the <Location> that names the handler, "/room"; all of
// it where that is no plain path.
const char* path_below(request_rec* r, const LocationConfig& location);

// Waits for handlers' callbacks that still run on workers, at the end of a child whose connections
// are gone. False if that takes longer.
bool finish_handlers(uint64_t within_ms, bool may_log);

}  // namespace mws
