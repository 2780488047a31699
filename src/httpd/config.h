// The directives, and what they set for a location and for the whole server.
#pragma once
#include <map>
#include <optional>
#include <string>

#include "src/httpd/admission.h"
#include "src/httpd/config_limits.h"
#include "src/httpd/module.h"
#include "src/httpd/publish_access.h"
#include "src/protocol/close_code.h"
#include "src/protocol/deflate_offer.h"
#include "src/protocol/origin.h"
#include "src/pubsub/redis_url.h"
#include "src/pubsub/shared_topics.h"

namespace mws {

constexpr apr_off_t kDefaultMaxMessage = 1 << 20;  // bytes

struct HandlerUse;

// Of one section, or merged for a request. What is not set is inherited from the enclosing scope.
struct LocationConfig {
  const HandlerUse* handler = nullptr;
  bool no_handler = false;  // "WebSocketHandler none"
  const char* handler_path = nullptr;
  std::map<std::string, std::string> params;
  const OriginPolicy* origins = nullptr;
  const OriginPolicy* trusted = nullptr;  // WebSocketTrustedOrigin
  bool only_trusted = false;              // WebSocketOriginCheck Trusted
  apr_off_t max_message = 0;              // bytes; 0: not set
  int detach = -1;                        // WebSocketDetach; -1: not set
  int workers = -1;                       // WebSocketWorkers; -1: not set
  int max_subscriptions = -1;             // WebSocketMaxSubscriptions; -1: not set
  int reserved_close_codes = -1;          // WebSocketAllowReservedStatusCodes; -1: not set
  const DeflateSettings* compression = nullptr;
  LimitsConfig connection;
  int status = -1;  // whether SetHandler websocket-status is what was set last; -1: nothing was
  PublishAccess publish;
  AdmissionLimits admission;

  bool shows_status() const { return status > 0; }
  const OriginPolicy& origin_policy() const;
  ConnectionLimits connection_limits() const { return connection.limits(); }
  uint64_t max_message_bytes() const {
    return uint64_t(max_message ? max_message : kDefaultMaxMessage);
  }
  DeflateSettings deflate_settings() const {
    return compression ? *compression : DeflateSettings();
  }
};

LocationConfig* location_config(request_rec* r);
// That of the section in which a directive stands, as httpd hands it to the function that sets it.
inline LocationConfig& section_of(void* config) { return *static_cast<LocationConfig*>(config); }

// What holds for the whole server, in the configuration that was read last.
struct ServerConfig {
  unsigned threads = 1;                   // WebSocketThreads
  int max_websockets = 0;                 // WebSocketMaxConnections; 0: no limit
  int max_resident = -1;                  // WebSocketMaxResident; -1: half of httpd's threads
  uint64_t max_buffered = 256 << 20;      // WebSocketMaxBuffered: bytes, of a child
  uint64_t drain_ms = 30'000;             // WebSocketDrainTimeout
  uint16_t drain_code = kCloseGoingAway;  // WebSocketDrainCode
  bool serves_websockets = false;         // there is a WebSocketHandler
  bool limits_clients = false;            // there is a limit by address or location
  bool publishes = false;                 // there is a SetHandler websocket-publish
  bool shows_status = false;              // there is a SetHandler websocket-status
  SharedTopics::Sizes topics;             // WebSocketBus, WebSocketTopicHistory, WebSocketMaxTopics
  HistoryLimits topic_history;            // WebSocketTopicHistory
  std::optional<RedisSettings> redis;     // WebSocketBus; none: local
  uint64_t max_subscriptions = 1'000'000;  // WebSocketMaxTopics: of all connections

  bool has_topics() const { return serves_websockets || publishes; }
};
const ServerConfig& server_config();
ServerConfig& changed_server_config();  // while it is read

// The argument of a directive. What is wrong with it, or nullptr.
const char* read_number(cmd_parms* cmd, const char* text, long lowest, long highest, int& number);

// For the module's record and hooks.
extern const command_rec kDirectives[];
void* create_location_config(apr_pool_t* pool, char* directory);
void* merge_location_config(apr_pool_t* pool, void* base, void* add);
int begin_configuration(apr_pool_t* pconf, apr_pool_t* plog, apr_pool_t* ptemp);
int check_configuration(apr_pool_t* pconf, apr_pool_t* plog, apr_pool_t* ptemp, server_rec* s);

}  // namespace mws
