#include "src/httpd/config_aliases.h"

#include <apr_strings.h>

#include "src/httpd/config.h"

namespace mws {

namespace {

OriginPolicy& trusted_of(cmd_parms* cmd, LocationConfig& section) {
  if (!section.trusted) section.trusted = pool_new<OriginPolicy>(cmd->pool);
  return const_cast<OriginPolicy&>(*section.trusted);
}

}  // namespace

// As with WebSocketOrigin, the later one of both counts.
const char* set_origin_check(cmd_parms* cmd, void* config, const char* mode) {
  LocationConfig& section = section_of(config);
  section.only_trusted = !strcasecmp(mode, "Trusted");
  section.origins = nullptr;
  if (section.only_trusted) return nullptr;
  bool off = !strcasecmp(mode, "Off");
  if (!off && strcasecmp(mode, "Same"))
    return apr_psprintf(cmd->pool, "WebSocketOriginCheck: \"%s\" is none of Off, Same, Trusted",
                        mode);
  auto* policy = pool_new<OriginPolicy>(cmd->pool);
  policy->allow(off ? "any" : "same");
  section.origins = policy;
  return nullptr;
}

// Whole origins and nothing like a pattern, as they used to be compared with what browsers send.
const char* add_trusted_origin(cmd_parms* cmd, void* config, const char* origin) {
  bool named = !strcasecmp(origin, "null") || parse_origin(origin);
  if (!named || !trusted_of(cmd, section_of(config)).allow(origin))
    return apr_psprintf(cmd->pool,
                        "WebSocketTrustedOrigin: \"%s\" is not SCHEME://HOST[:PORT], such as "
                        "https://www.example.org",
                        origin);
  return nullptr;
}

const char* set_reserved_close_codes(cmd_parms*, void* config, int on) {
  section_of(config).reserved_close_codes = on;
  return nullptr;
}

}  // namespace mws
