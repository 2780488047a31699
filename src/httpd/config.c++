#include "src/httpd/config.h"

#include <apr_strings.h>
#include <http_core.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <climits>
#include <cstring>

#include "src/httpd/config_aliases.h"
#include "src/httpd/connection_log.h"
#include "src/httpd/named_handlers.h"
#include "src/httpd/options.h"
#include "src/httpd/topics.h"

namespace mws {

namespace {

// What one reading of the configuration has said for the whole server. httpd reads it twice at
// startup and again at every restart; each has its own.
ServerConfig* for_server;

const char* set_handler(cmd_parms* cmd, void* config, const char* name, const char* symbol) {
  LocationConfig& section = section_of(config);
  section.no_handler = !strcasecmp(name, "none");
  section.handler = section.no_handler ? nullptr : name_handler(cmd, section, name, symbol);
  if (section.handler) for_server->serves_websockets = true;
  return nullptr;
}

const char* set_handler_path(cmd_parms* cmd, void* config, const char* folder) {
  const char* path = ap_server_root_relative(cmd->pool, folder);
  if (!path) return apr_pstrcat(cmd->pool, "WebSocketHandlerPath: not a path: ", folder, nullptr);
  section_of(config).handler_path = path;
  needs_handler(cmd, section_of(config));
  return nullptr;
}

const char* set_param(cmd_parms* cmd, void* config, const char* key, const char* value) {
  section_of(config).params[key] = value;
  needs_handler(cmd, section_of(config));
  return nullptr;
}

const char* set_origin(cmd_parms* cmd, void* config, int argc, char* const argv[]) {
  if (!argc) return "WebSocketOrigin needs same, any, or the origins that may connect";
  auto* policy = pool_new<OriginPolicy>(cmd->pool);
  for (int i = 0; i < argc; i++)
    if (!strcasecmp(argv[i], "all") || !strcasecmp(argv[i], "none") || !policy->allow(argv[i]))
      return apr_psprintf(cmd->pool,
                          "WebSocketOrigin: \"%s\" is none of same, any, null, HOST, HOST:PORT, "
                          "SCHEME://HOST[:PORT]; *.HOST stands for all names below HOST",
                          argv[i]);
  section_of(config).origins = policy;
  section_of(config).only_trusted = false;
  return nullptr;
}

const char* set_max_message(cmd_parms* cmd, void* config, const char* text) {
  char* end = nullptr;
  apr_off_t bytes;
  if (apr_strtoff(&bytes, text, &end, 10) || *end || end == text || bytes < 1)
    return apr_psprintf(cmd->pool, "%s: \"%s\" is not a number of bytes above 0, such as 1048576",
                        cmd->cmd->name, text);
  section_of(config).max_message = bytes;
  return nullptr;
}

// "level=6" and its kin. False if it is none of them, or its value none that it takes.
bool read_compression_option(std::string_view option, DeflateSettings& settings) {
  size_t equals = option.find('=');
  if (equals == option.npos) return false;
  std::string_view name = option.substr(0, equals), value = option.substr(equals + 1);
  if (name == "takeover") {
    settings.takeover = value == "on";
    return value == "on" || value == "off";
  }
  uint32_t number = 0;
  auto [end, error] = std::from_chars(value.begin(), value.end(), number);
  if (error != std::errc() || end != value.end()) return false;
  if (name == "level") settings.level = int(std::min(number, 10u));
  else if (name == "window") settings.window_bits = int(std::min(number, 16u));
  else if (name == "min-size") settings.min_size = number;
  else return false;
  return settings.level >= 1 && settings.level <= 9 && settings.window_bits >= 9 &&
         settings.window_bits <= kMaxWindowBits;
}

const char* set_compression(cmd_parms* cmd, void* config, int argc, char* const argv[]) {
  auto* settings = pool_new<DeflateSettings>(cmd->pool);
  settings->on = argc && !strcasecmp(argv[0], "on");
  if (!argc || (!settings->on && strcasecmp(argv[0], "off")))
    return "WebSocketCompression needs on or off, and behind on what is to differ from level=2 "
           "window=15 takeover=off min-size=256";
  for (int i = 1; i < argc; i++)
    if (!settings->on || !read_compression_option(argv[i], *settings))
      return apr_psprintf(cmd->pool,
                          "WebSocketCompression: \"%s\" is none of level=1 to level=9, window=9 to "
                          "window=15, takeover=on, takeover=off, min-size=BYTES%s",
                          argv[i], settings->on ? "" : ", which go with on");
  section_of(config).compression = settings;
  return nullptr;
}

const char* set_workers(cmd_parms* cmd, void* config, const char* text) {
  int& workers = section_of(config).workers;
  const char* error = read_number(cmd, text, 0, 1024, workers);
  if (!error) needs_handler(cmd, section_of(config));
  return error;
}

const char* set_detach(cmd_parms*, void* config, int on) {
  section_of(config).detach = on;
  return nullptr;
}

// A whole number for the whole server.
const char* read_global(cmd_parms* cmd, const char* text, long lowest, long highest, int& number) {
  if (const char* error = ap_check_cmd_context(cmd, GLOBAL_ONLY)) return error;
  return read_number(cmd, text, lowest, highest, number);
}

const char* set_threads(cmd_parms* cmd, void*, const char* text) {
  int threads = 1;
  const char* error = read_global(cmd, text, 1, 64, threads);
  for_server->threads = unsigned(threads);
  return error;
}

const char* set_max_connections(cmd_parms* cmd, void*, const char* text) {
  return read_global(cmd, text, 1, INT_MAX - 1, for_server->max_websockets);
}

const char* set_max_resident(cmd_parms* cmd, void*, const char* text) {
  return read_global(cmd, text, 0, INT_MAX - 1, for_server->max_resident);
}

const char* set_drain_timeout(cmd_parms* cmd, void*, const char* text) {
  if (const char* error = ap_check_cmd_context(cmd, GLOBAL_ONLY)) return error;
  constexpr uint64_t kLongest_ms = 24 * 60 * 60 * 1000;
  if (!read_time(text, 0, kLongest_ms, for_server->drain_ms))
    return apr_psprintf(
        cmd->pool,
        "WebSocketDrainTimeout: \"%s\" is not a time from 0 to a day, such as 30, 500ms "
        "or 2min",
        text);
  return nullptr;
}

const char* set_drain_code(cmd_parms* cmd, void*, const char* text) {
  if (const char* error = ap_check_cmd_context(cmd, GLOBAL_ONLY)) return error;
  std::string_view code = text;
  if (code != "1001" && code != "1012")
    return apr_psprintf(cmd->pool,
                        "WebSocketDrainCode: \"%s\" is neither 1001 (going away) nor 1012 (service "
                        "restart)",
                        text);
  for_server->drain_code = code == "1001" ? kCloseGoingAway : kCloseServiceRestart;
  return nullptr;
}

}  // namespace

const char* read_number(cmd_parms* cmd, const char* text, long lowest, long highest, int& number) {
  char* end = nullptr;
  errno = 0;
  long read = strtol(text, &end, 10);
  if (errno || *end || end == text || read < lowest || read > highest)
    return apr_psprintf(cmd->pool, "%s: \"%s\" is not a number from %ld to %ld", cmd->cmd->name,
                        text, lowest, highest);
  number = int(read);
  return nullptr;
}

const OriginPolicy& LocationConfig::origin_policy() const {
  static const OriginPolicy same = [] {
    OriginPolicy policy;
    policy.allow("same");
    return policy;
  }();
  static const OriginPolicy none;
  if (only_trusted) return trusted ? *trusted : none;
  return origins ? *origins : same;
}

LocationConfig* location_config(request_rec* r) {
  return static_cast<LocationConfig*>(ap_get_module_config(r->per_dir_config, &websocket_module));
}

const ServerConfig& server_config() { return *for_server; }
ServerConfig& changed_server_config() { return *for_server; }

void* create_location_config(apr_pool_t* pool, char*) { return pool_new<LocationConfig>(pool); }

void* merge_location_config(apr_pool_t* pool, void* base_config, void* add_config) {
  const LocationConfig &base = section_of(base_config), &add = section_of(add_config);
  auto* merged = pool_new<LocationConfig>(pool, add);
  if (!add.handler && !add.no_handler) {
    merged->handler = base.handler;
    merged->no_handler = base.no_handler;
  }
  if (!add.handler_path) merged->handler_path = base.handler_path;
  if (!add.origins && !add.only_trusted) {
    merged->origins = base.origins;
    merged->only_trusted = base.only_trusted;
  }
  if (!add.trusted) merged->trusted = base.trusted;
  if (add.reserved_close_codes < 0) merged->reserved_close_codes = base.reserved_close_codes;
  if (!add.max_message) merged->max_message = base.max_message;
  if (add.detach < 0) merged->detach = base.detach;
  if (add.status < 0) merged->status = base.status;
  if (!add.compression) merged->compression = base.compression;
  if (add.workers < 0) merged->workers = base.workers;
  if (add.max_subscriptions < 0) merged->max_subscriptions = base.max_subscriptions;
  merged->admission = merge_admission_limits(base.admission, add.admission);
  merged->connection = merge_limits(base.connection, add.connection);
  merged->publish = merge_publish_access(base.publish, add.publish);
  merged->params.insert(base.params.begin(), base.params.end());
  return merged;
}

int begin_configuration(apr_pool_t* pconf, apr_pool_t*, apr_pool_t*) {
  for_server = pool_new<ServerConfig>(pconf);
  begin_named_handlers(pconf);
  return OK;
}

int check_configuration(apr_pool_t*, apr_pool_t*, apr_pool_t* ptemp, server_rec* main_server) {
  return load_named_handlers(ptemp, main_server) ? OK : HTTP_INTERNAL_SERVER_ERROR;
}

// Nowhere in .htaccess: a handler is code that runs in the server.
constexpr int kAnywhere = RSRC_CONF | ACCESS_CONF;

// httpd's tables hold functions of several types as one.
template <class Function>
cmd_func setter(Function function) {
  return reinterpret_cast<cmd_func>(reinterpret_cast<void (*)()>(function));
}

const command_rec kDirectives[] = {
    AP_INIT_TAKE12(
        "WebSocketHandler", setter(set_handler), nullptr, kAnywhere,
        "NAME or PATH of the shared object that serves WebSockets here, or none; and the "
        "function it exports (default websocket_handler)"),
    AP_INIT_TAKE1("WebSocketHandlerPath", setter(set_handler_path), nullptr, kAnywhere,
                  "folder in which a handler's NAME is looked up"),
    AP_INIT_TAKE2("WebSocketParam", setter(set_param), nullptr, kAnywhere,
                  "KEY and VALUE of a parameter for the handler"),
    AP_INIT_TAKE_ARGV("WebSocketOrigin", setter(set_origin), nullptr, kAnywhere,
                      "origins that may connect: same (the default), any, null, or hosts"),
    AP_INIT_TAKE1(
        "WebSocketMaxMessage", setter(set_max_message), nullptr, kAnywhere,
        "longest message that a client may send, in bytes, decompressed (default 1048576)"),
    AP_INIT_TAKE_ARGV("WebSocketCompression", setter(set_compression), nullptr, kAnywhere,
                      "on (the default) or off, and for permessage-deflate level=1 to 9, window=9 "
                      "to 15, takeover=on or off, min-size=BYTES (default level=2 window=15 "
                      "takeover=off min-size=256)"),
    AP_INIT_TAKE1("WebSocketThreads", setter(set_threads), nullptr, RSRC_CONF,
                  "event loops per child process, 1 to 64 (default 1)"),
    AP_INIT_TAKE1("WebSocketWorkers", setter(set_workers), nullptr, kAnywhere,
                  "threads per child process that run the handler's callbacks, which may then "
                  "block, 1 to 1024; 0: the event loop runs them (default 0, for handlers that say "
                  "that they block 16)"),
    AP_INIT_FLAG(
        "WebSocketDetach", setter(set_detach), nullptr, kAnywhere,
        "off: every WebSocket keeps the thread that brought it (default on; for plugins of "
        "apache-websocket off)"),
    AP_INIT_TAKE1("WebSocketMaxConnections", setter(set_max_connections), nullptr, RSRC_CONF,
                  "most WebSockets at a time, of all child processes (default no limit)"),
    AP_INIT_TAKE1("WebSocketMaxPerLocation", setter(set_max_per_location), nullptr, kAnywhere,
                  "most WebSockets of a location at a time, of all child processes (default 0: no "
                  "limit)"),
    AP_INIT_TAKE1("WebSocketMaxPerAddress", setter(set_max_per_address), nullptr, kAnywhere,
                  "most WebSockets of a client's address at a time, of IPv6 of its /64 (default 0: "
                  "no limit)"),
    AP_INIT_TAKE12("WebSocketHandshakeRate", setter(set_handshake_rate), nullptr, kAnywhere,
                   "opening handshakes per second and client's address, and how many may come at "
                   "once (default 0: no limit; at once as many as per second)"),
    AP_INIT_TAKE1(
        "WebSocketMaxResident", setter(set_max_resident), nullptr, RSRC_CONF,
        "most WebSockets at a time that keep a thread, per child process, or on prefork a "
        "process (default half of them)"),
    AP_INIT_TAKE12("WebSocketPing", setter(set_ping), nullptr, kAnywhere,
                   "time after which a silent client is pinged, and that it then has for a sign of "
                   "life (default 30 30), or off"),
    AP_INIT_TAKE1("WebSocketIdleTimeout", setter(set_idle_timeout), nullptr, kAnywhere,
                  "time without a message in either direction after which a connection is closed "
                  "(default off)"),
    AP_INIT_TAKE1("WebSocketCloseTimeout", setter(set_close_timeout), nullptr, kAnywhere,
                  "time that a client has to answer a close frame (default 5)"),
    AP_INIT_TAKE12("WebSocketMaxLifetime", setter(set_max_lifetime), nullptr, kAnywhere,
                   "time after which a connection is closed, and by how much of it that may be "
                   "earlier, so that not all come back at once (default off, 10%)"),
    AP_INIT_TAKE_ARGV("WebSocketRateLimit", setter(set_rate_limit), nullptr, kAnywhere,
                      "what a client may send in a second, messages=, bytes= and control= with "
                      "RATE[:BURST] or off, and whether what is more pauses reading or closes: "
                      "pause or close (default control=1000:10000 pause)"),
    AP_INIT_TAKE1("WebSocketSendBuffer", setter(set_send_buffer), nullptr, kAnywhere,
                  "bytes that may wait for a client before it is a slow one (default 1M)"),
    AP_INIT_TAKE1("WebSocketSlowClient", setter(set_slow_client), nullptr, kAnywhere,
                  "what happens to such a client: pause (it is not read; the default), close, or "
                  "drop (messages)"),
    AP_INIT_TAKE1("WebSocketMaxFragments", setter(set_max_fragments), nullptr, kAnywhere,
                  "fragments that a message may have (default 131072)"),
    AP_INIT_TAKE1("WebSocketMaxBuffered", setter(set_max_buffered), nullptr, RSRC_CONF,
                  "bytes that may wait for all clients of a child process; past it those go for "
                  "whom most waits (default 256M)"),
    AP_INIT_TAKE1("WebSocketDrainTimeout", setter(set_drain_timeout), nullptr, RSRC_CONF,
                  "time over which a graceful restart or stop spreads the closes of WebSockets "
                  "(default 30 s, 0 closes all at once)"),
    AP_INIT_TAKE1("WebSocketDrainCode", setter(set_drain_code), nullptr, RSRC_CONF,
                  "close code of a graceful restart or stop, 1001 (the default) or 1012"),
    AP_INIT_TAKE_ARGV("WebSocketLog", setter(set_connection_log), nullptr, RSRC_CONF,
                      "file or |program for a line of JSON for each connection at its end, or off; "
                      "then start, for one at its start too, and fields=NAME,NAME (default off)"),
    AP_INIT_TAKE_ARGV(
        "WebSocketBus", setter(set_bus), nullptr, RSRC_CONF,
        "how publications get to all subscribers: local (the default), "
        "redis://HOST or redis+unix:/PATH, and size=BYTES of the memory through which "
        "child processes hear each other (default 16M); for Redis outbox-count=, "
        "outbox-bytes= and password-file= too"),
    AP_INIT_TAKE_ARGV("WebSocketTopicHistory", setter(set_topic_history), nullptr, RSRC_CONF,
                      "what is kept of each topic, count=NUMBER, bytes=BYTES and age=TIME, and in "
                      "all memory=BYTES (default count=100 bytes=1M memory=32M)"),
    AP_INIT_TAKE12("WebSocketMaxTopics", setter(set_max_topics), nullptr, RSRC_CONF,
                   "most topics at a time (default 16384), and subscriptions of all connections "
                   "(default 1000000)"),
    AP_INIT_TAKE1("WebSocketMaxSubscriptions", setter(set_max_subscriptions), nullptr, kAnywhere,
                  "most topics that a connection may subscribe to (default 1000)"),
    // apache-websocket's names.
    AP_INIT_TAKE1("WebSocketMaxMessageSize", setter(set_max_message), nullptr, kAnywhere,
                  "as WebSocketMaxMessage"),
    AP_INIT_TAKE1("MaxMessageSize", setter(set_max_message), nullptr, kAnywhere,
                  "as WebSocketMaxMessage"),
    AP_INIT_TAKE1("WebSocketOriginCheck", setter(set_origin_check), nullptr, kAnywhere,
                  "Off, Same, or Trusted: as WebSocketOrigin any, same, or with a list"),
    AP_INIT_ITERATE("WebSocketTrustedOrigin", setter(add_trusted_origin), nullptr, kAnywhere,
                    "origins that may connect under WebSocketOriginCheck Trusted"),
    AP_INIT_FLAG("WebSocketAllowReservedStatusCodes", setter(set_reserved_close_codes), nullptr,
                 kAnywhere,
                 "on: clients may close with codes that are reserved for future use (default off)"),
    // httpd's own, which this module hears of too; each is allowed where it is for its owner.
    AP_INIT_TAKE1("SetHandler", setter(note_set_handler), nullptr, OR_FILEINFO,
                  "websocket-publish: requests publish to topics; websocket-status: they read what "
                  "is counted"),
    AP_INIT_RAW_ARGS("Require", setter(note_require), nullptr, OR_AUTHCFG,
                     "who may publish, beside SetHandler websocket-publish"),
    AP_INIT_TAKE1("AuthMerging", setter(note_auth_merging), nullptr, OR_AUTHCFG,
                  "whether the Require of enclosing sections counts for publishing"),
    {nullptr, {nullptr}, nullptr, 0, RAW_ARGS, nullptr}};

}  // namespace mws
