#include "src/httpd/publish_access.h"

#include <apr_strings.h>
#include <http_core.h>

#include <cstring>

#include "src/httpd/config.h"
#include "src/httpd/named_handlers.h"
#include "src/httpd/status.h"

namespace mws {

namespace {

bool stands_in_htaccess(cmd_parms* cmd) { return ap_check_cmd_context(cmd, NOT_IN_HTACCESS); }

// Where nobody else knows the directive it would be taken, and mean nothing.
const char* needs_authz_core(const cmd_parms* cmd) {
  if (ap_find_linked_module("mod_authz_core.c")) return nullptr;
  return apr_psprintf(cmd->pool, "%s: load mod_authz_core, which it belongs to", cmd->cmd->name);
}

}  // namespace

PublishAccess merge_publish_access(const PublishAccess& base, const PublishAccess& add) {
  PublishAccess merged = add;
  if (add.sets_handler) {
    // With "Or", whatever was granted outside counts as well.
    if (add.merging == PublishAccess::either) merged.methods = 0;
  } else {
    merged.sets_handler = base.sets_handler;
    merged.publishes = base.publishes;
    merged.prefix = base.prefix;
    if (add.merging == PublishAccess::both) merged.methods = base.methods | add.methods;
    else if (add.merging == PublishAccess::either && add.has_require)
      merged.methods = base.methods & add.methods;
    else if (add.merging != PublishAccess::off && !add.has_require) merged.methods = base.methods;
  }
  if (add.merging == PublishAccess::both || add.merging == PublishAccess::either) {
    merged.has_require = base.has_require || add.has_require;
    merged.merging = base.merging;
  } else if (add.merging == PublishAccess::not_set && !add.has_require) {
    merged.has_require = base.has_require;
    merged.merging = base.merging;
  }
  return merged;
}

bool is_required(request_rec* r, const PublishAccess& access) {
  return access.methods & AP_METHOD_BIT << r->method_number && ap_satisfies(r) != SATISFY_ANY;
}

const char* why_closed(request_rec* r, const PublishAccess& access) {
  if (!access.publishes)
    return "its handler was not set by SetHandler websocket-publish in a section of the server's "
           "configuration, which is the only way";
  if (ap_satisfies(r) == SATISFY_ANY)
    return "Satisfy Any holds, with which Require may count for nothing: remove it";
  if (access.methods & AP_METHOD_BIT << r->method_number) return nullptr;
  return apr_psprintf(
      r->pool,
      "no Require says who may use %s: write one, such as \"Require ip 10.0.0.0/8\", into the "
      "section that has SetHandler websocket-publish (AuthMerging Or beside it, and .htaccess, "
      "do not count)",
      r->method);
}

const char* note_set_handler(cmd_parms* cmd, void* config, const char* handler) {
  PublishAccess& access = section_of(config).publish;
  bool is_ours = !strcmp(handler, kPublishHandler);
  bool shows = !strcmp(handler, kStatusHandler) && !stands_in_htaccess(cmd);
  section_of(config).status = shows;
  if (shows) changed_server_config().shows_status = true;
  access.sets_handler = true;
  access.publishes = is_ours && !stands_in_htaccess(cmd);
  if (!access.publishes) return nullptr;
  if (!cmd->path)
    return "SetHandler websocket-publish has to stand in a section, such as <Location "
           "\"/publish\">, with a Require that says who may publish";
  if (auto prefix = plain_path_of(cmd)) access.prefix = apr_pstrdup(cmd->pool, prefix->c_str());
  changed_server_config().publishes = true;
  return nullptr;
}

const char* note_require(cmd_parms* cmd, void* config, const char*) {
  PublishAccess& access = section_of(config).publish;
  access.has_require = true;
  if (!stands_in_htaccess(cmd)) access.methods |= cmd->limited;
  return needs_authz_core(cmd);
}

const char* note_auth_merging(cmd_parms* cmd, void* config, const char* mode) {
  auto& merging = section_of(config).publish.merging;
  merging = !strcasecmp(mode, "and")  ? PublishAccess::both
            : !strcasecmp(mode, "or") ? PublishAccess::either
                                      : PublishAccess::off;
  return needs_authz_core(cmd);
}

}  // namespace mws
