#include "src/httpd/named_handlers.h"

#include <apr_lib.h>
#include <http_core.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include "src/base/clock.h"
#include "src/httpd/log.h"
#include "src/httpd/sites.h"

namespace mws {

// A WebSocketHandler directive, and what it stands for on each server that it applies to. With
// parameters set per virtual host, one directive can stand for several handlers.
struct HandlerUse {
  std::string name, symbol, place;  // place: "FILE:LINE"
  server_rec* server;
  const LocationConfig* section;
  bool whole_server;                  // stands outside of any section
  std::string location;               // of that section, for the log
  std::optional<std::string> prefix;  // that every path has here, without a slash at its end
  std::map<server_rec*, Handler*> on_server;
  std::map<server_rec*, unsigned> sites;
};

namespace {

// What one reading of the configuration has collected. httpd reads it twice at startup and again at
// every restart; each has its own.
struct NamedHandlers {
  std::vector<HandlerUse*> uses;
  struct ForHandler {
    const LocationConfig* section;
    std::string directive, place;
  };
  std::vector<ForHandler> for_handlers;
  std::vector<std::unique_ptr<Handler>> handlers;
};

NamedHandlers* named;

std::string place_of(const cmd_parms* cmd) {
  return std::string(cmd->directive->filename) + ":" + std::to_string(cmd->directive->line_num);
}

std::string file_of(apr_pool_t* pool, const HandlerUse& use, const LocationConfig& merged) {
  if (use.name.find('/') == use.name.npos) {
    std::string folder = merged.handler_path ? merged.handler_path : WEBSOCKET_HANDLER_PATH;
    return folder + "/" + use.name + ".so";
  }
  const char* path = ap_server_root_relative(pool, use.name.c_str());
  return path ? path : use.name;
}

bool refuse(const HandlerUse& use, server_rec* s, const std::string& file,
            const std::string& reason) {
  const char* hint = "";
  if (access(file.c_str(), F_OK))
    hint = use.name.find('/') == use.name.npos
               ? "; a NAME is looked up in WebSocketHandlerPath, a PATH has a slash in it"
               : "; write the path of a shared object, absolute or below ServerRoot";
  ap_log_error(APLOG_MARK, APLOG_STARTUP | APLOG_CRIT, 0, s, "WS104: %s: WebSocketHandler %s: %s%s",
               use.place.c_str(), use.name.c_str(), reason.c_str(), hint);
  return false;
}

// A handler that is configured the same way for several servers is configured once.
struct Loaded {
  HandlerUse* use;
  std::string file;
  std::map<std::string, std::string> params;
  int workers, max_subscriptions;
  bool may_detach;  // WebSocketDetach on
  Handler* handler;
};

bool load(HandlerUse& use, server_rec* s, apr_pool_t* ptemp, std::vector<Loaded>& loaded) {
  auto* defaults =
      static_cast<LocationConfig*>(ap_get_module_config(s->lookup_defaults, &websocket_module));
  LocationConfig merged = *defaults;
  if (!use.whole_server)
    merged = *static_cast<LocationConfig*>(
        merge_location_config(ptemp, defaults, const_cast<LocationConfig*>(use.section)));
  std::string file = file_of(ptemp, use, merged);
  bool may_detach = merged.detach == 1;
  for (const Loaded& each : loaded)
    if (each.use == &use && each.file == file && each.params == merged.params &&
        each.workers == merged.workers && each.may_detach == may_detach &&
        each.max_subscriptions == merged.max_subscriptions) {
      use.on_server[s] = each.handler;
      return true;
    }

  auto library = Library::load(file, use.symbol, server_log());
  if (!library) return refuse(use, s, file, library.reason());
  size_t max_subscriptions =
      merged.max_subscriptions < 0 ? kDefaultMaxSubscriptions : size_t(merged.max_subscriptions);
  auto handler = Handler::configure(
      *library, {merged.params, use.location, merged.workers, may_detach, max_subscriptions});
  if (!handler) return refuse(use, s, file, handler.reason());
  use.on_server[s] = handler->get();
  loaded.push_back({&use, file, merged.params, merged.workers, merged.max_subscriptions, may_detach,
                    handler->get()});
  named->handlers.push_back(std::move(*handler));
  return true;
}

}  // namespace

std::optional<std::string> plain_path_of(const cmd_parms* cmd) {
  const ap_directive_t* section = cmd->directive->parent;
  if (!cmd->path || !section || strcasecmp(section->directive, "<Location")) return std::nullopt;
  const char* arguments = section->args;
  while (apr_isspace(*arguments)) arguments++;
  std::string path = cmd->path;
  if (*arguments == '~' || path[0] != '/' || path.find_first_of("*?[") != path.npos)
    return std::nullopt;
  while (!path.empty() && path.back() == '/') path.pop_back();
  return path;
}

void begin_named_handlers(apr_pool_t* pconf) { named = pool_new<NamedHandlers>(pconf); }

const HandlerUse* name_handler(cmd_parms* cmd, const LocationConfig& section, const char* name,
                               const char* symbol) {
  auto* use = pool_new<HandlerUse>(cmd->pool);
  use->name = name;
  use->symbol = symbol ? symbol : kDefaultSymbol;
  use->place = place_of(cmd);
  use->server = cmd->server;
  use->section = &section;
  use->whole_server = !cmd->path;
  use->location = cmd->path ? cmd->path : "all of the server";
  use->prefix = plain_path_of(cmd);
  named->uses.push_back(use);
  return use;
}

// Handlers are configured when the configuration is read, each for its own section; what another
// section says would come too late.
void needs_handler(const cmd_parms* cmd, const LocationConfig& section) {
  if (cmd->path) named->for_handlers.push_back({&section, cmd->cmd->name, place_of(cmd)});
}

bool load_named_handlers(apr_pool_t* ptemp, server_rec* main_server) {
  for (const auto& each : named->for_handlers) {
    if (each.section->handler) continue;
    ap_log_error(
        APLOG_MARK, APLOG_STARTUP | APLOG_CRIT, 0, main_server,
        "WS105: %s: %s: put it into the section of the WebSocketHandler it is for, or outside of "
        "sections as a default for all handlers",
        each.place.c_str(), each.directive.c_str());
    return false;
  }
  std::vector<Loaded> loaded;
  for (HandlerUse* use : named->uses) {
    // A directive of the main server holds for the virtual hosts too.
    for (server_rec* s = main_server; s; s = s->next)
      if (s == use->server || use->server == main_server)
        if (!load(*use, s, ptemp, loaded)) return false;
  }
  return true;
}

Handler* handler_for(request_rec* r, const LocationConfig& location) {
  if (!location.handler) return nullptr;
  auto found = location.handler->on_server.find(r->server);
  return found == location.handler->on_server.end() ? nullptr : found->second;
}

void number_sites(server_rec* main_server) {
  for (HandlerUse* use : named->uses)
    for (server_rec* s = main_server; s; s = s->next)
      if (use->on_server.contains(s))
        use->sites[s] = number_site(s, use->whole_server ? "/" : use->location, s != use->server);
}

unsigned site_number_for(request_rec* r, const LocationConfig& location) {
  if (!location.handler || location.shows_status()) return kUncounted;
  auto found = location.handler->sites.find(r->server);
  return found == location.handler->sites.end() ? kUncounted : found->second;
}

bool finish_handlers(uint64_t within_ms, bool may_log) {
  uint64_t deadline_ms = monotonic_ms() + within_ms;
  bool all = true;
  for (auto& handler : named->handlers) {
    uint64_t now_ms = monotonic_ms();
    all &= handler->finish(deadline_ms - std::min(deadline_ms, now_ms), may_log);
  }
  return all;
}

const char* below_prefix(const char* path, std::string_view prefix) {
  std::string_view whole = path;
  bool is_below =
      whole.starts_with(prefix) && (whole.size() == prefix.size() || whole[prefix.size()] == '/');
  return is_below ? path + prefix.size() : path;
}

const char* path_below(request_rec* r, const LocationConfig& location) {
  if (!location.handler || !location.handler->prefix) return r->uri;
  return below_prefix(r->uri, *location.handler->prefix);
}

}  // namespace mws
