#include "src/httpd/topics.h"

#include <ap_mpm.h>
#include <apr_strings.h>
#include <http_core.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstring>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "src/handler/topics.h"
#include "src/httpd/capacity.h"
#include "src/httpd/config.h"
#include "src/httpd/log.h"
#include "src/httpd/named_handlers.h"
#include "src/httpd/options.h"
#include "src/pubsub/local_bus.h"
#include "src/pubsub/redis_bus.h"

namespace mws {

namespace {

// The name changes with the layout of the memory: after a graceful restart with a newer module,
// children of both have topics of their own.
constexpr const char* kMemoryKey = "mod_websocket-topics-1";

struct Memory {
  void* at;
  SharedTopics::Sizes sizes;
  std::vector<int> descriptors;
};

SharedTopics* topics;  // of the configuration that was read last
Bus* bus;              // of this child

// Never freed: it is the parent's, for ever.
Memory* make_memory(const SharedTopics::Sizes& sizes) {
  void* at = mmap(nullptr, SharedTopics::bytes_for(sizes), PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) return nullptr;
  auto* memory = new Memory{at, sizes, {}};
  constexpr uint32_t kDescriptors = 32;
  for (uint32_t i = 0; i < std::min(kDescriptors, sizes.seats); i++) {
    int descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (descriptor < 0) break;
    memory->descriptors.push_back(descriptor);
  }
  if (memory->descriptors.empty()) return nullptr;
  SharedTopics::lay_out(at, sizes);
  return memory;
}

Bus* make_bus([[maybe_unused]] const std::function<Loop&()>& bus_loop) {
#ifdef WEBSOCKET_HIREDIS
  if (const auto& redis = server_config().redis)
    return new RedisBus(*topics, *redis, bus_loop, server_log());
#endif
  return new LocalBus(*topics, &server_log());
}

// The first line of a file that holds nothing else.
const char* read_password(cmd_parms* cmd, const char* named, std::string& into) {
  const char* path = ap_server_root_relative(cmd->pool, named);
  apr_file_t* file = nullptr;
  constexpr apr_int32_t kFlags = APR_READ;
  if (!path || apr_file_open(&file, path, kFlags, APR_OS_DEFAULT, cmd->pool))
    return apr_psprintf(cmd->pool, "WebSocketBus password-file=%s cannot be read", named);
  char text[4096];
  apr_size_t size = sizeof text;
  if (apr_file_read_full(file, text, sizeof text, &size) == APR_SUCCESS) size = 0;  // too long
  apr_file_close(file);
  std::string_view line(text, size);
  line = line.substr(0, std::min(line.find_first_of("\r\n"), line.size()));
  into = line;
  memset(text, 0, sizeof text);
  if (into.empty())
    return apr_psprintf(cmd->pool,
                        "WebSocketBus password-file=%s does not begin with a line with a password",
                        named);
  return nullptr;
}

// mod_info shows the directives as they stand: user and password are none of its business.
void hide_login(cmd_parms* cmd) {
  std::string args = cmd->directive->args;
  size_t login = args.find("://"), host = args.rfind('@');
  if (login == args.npos || host == args.npos) return;
  args.replace(login + 3, host - login - 3, "***");
  const_cast<ap_directive_t*>(cmd->directive)->args = apr_pstrdup(cmd->pool, args.c_str());
}

// Nothing of the address goes into a complaint: it may be the password.
const char* use_redis(cmd_parms* cmd, [[maybe_unused]] const char* url) {
#ifdef WEBSOCKET_HIREDIS
  auto address = parse_redis_url(url);
  if (!address)
    return apr_pstrcat(cmd->pool,
                       "WebSocketBus: the address of Redis is wrong: ", address.reason().c_str(),
                       nullptr);
  changed_server_config().redis.emplace().address = *address;
  return nullptr;
#else
  return apr_pstrcat(cmd->pool, cmd->cmd->name,
                     " redis: this module was built without hiredis; install its headers "
                     "(Debian: libhiredis-dev), run ./configure and build it again, or use local",
                     nullptr);
#endif
}

const char* set_bus_option(cmd_parms* cmd, const char* option) {
  ServerConfig& config = changed_server_config();
  uint64_t bytes = 0;
  if (const char* size = value_of(option, "size");
      size && read_bytes(size, 64 << 10, 1 << 30, bytes)) {
    config.topics.ring_bytes = bytes;
    return nullptr;
  }
  uint64_t number = 0;
  if (const char* count = value_of(option, "outbox-count");
      count && config.redis && read_bytes(count, 0, 10'000'000, number)) {
    config.redis->outbox_count = number;
    return nullptr;
  }
  if (const char* outbox = value_of(option, "outbox-bytes");
      outbox && config.redis && read_bytes(outbox, 0, uint64_t(4) << 30, bytes)) {
    config.redis->outbox_bytes = bytes;
    return nullptr;
  }
  if (const char* file = value_of(option, "password-file"); file && config.redis)
    return read_password(cmd, file, config.redis->address.password);
  // It may be the rest of a password with a blank.
  if (config.redis)
    return "WebSocketBus redis: behind the address there may be size=BYTES from 64K to 1G, "
           "outbox-count=NUMBER, outbox-bytes=BYTES and password-file=PATH, such as size=16M "
           "outbox-count=10000; a blank in the address is written as %20";
  return apr_psprintf(
      cmd->pool, "WebSocketBus: \"%s\" is not size=BYTES from 64K to 1G, such as size=16M", option);
}

}  // namespace

void make_topics(server_rec* s) {
  topics = nullptr;
  const ServerConfig& config = server_config();
  if (!config.has_topics()) return;
  apr_pool_t* for_ever = s->process->pool;
  SharedTopics::Sizes sizes = config.topics;
  // As many as in the table of children.
  sizes.seats = std::min<uint32_t>(uint32_t(mpm_number(AP_MPMQ_HARD_LIMIT_DAEMONS)) * 2 + 64,
                                   SharedTopics::kMaxSeats);
  void* known = nullptr;
  apr_pool_userdata_get(&known, kMemoryKey, for_ever);
  auto* memory = static_cast<Memory*>(known);
  if (!memory) {
    memory = make_memory(sizes);
    if (!memory) {
      ap_log_error(APLOG_MARK, APLOG_ERR, errno, s,
                   "WS501: no memory of %" APR_SIZE_T_FMT
                   " bytes for topics: nothing can be published",
                   apr_size_t(SharedTopics::bytes_for(sizes)));
      return;
    }
    apr_pool_userdata_set(memory, kMemoryKey, nullptr, for_ever);  // it copies the key
  }
  if (memory->sizes.ring_bytes != sizes.ring_bytes ||
      memory->sizes.history_bytes != sizes.history_bytes || memory->sizes.topics != sizes.topics)
    ap_log_error(
        APLOG_MARK, APLOG_WARNING, 0, s,
        "WS502: WebSocketBus size=, WebSocketTopicHistory memory= and WebSocketMaxTopics stay as "
        "they were at the server's start: stop it and start it to change them");
  topics = new SharedTopics(memory->at, memory->descriptors, config.topic_history,
                            config.max_subscriptions);
}

void start_topics(Engine& engine) {
  if (!topics) return;
  auto bus_loop = [&engine]() -> Loop& {
    engine.start();
    return engine.first_loop();
  };
  bus = make_bus(bus_loop);
  set_process_hub(new Hub(*bus, bus_loop));
}

void finish_topics(uint64_t within_ms) {
  if (bus) bus->finish(within_ms);
}

void leave_topics(pid_t child) {
  if (topics) topics->leave(child);
}

const char* set_bus(cmd_parms* cmd, void*, int argc, char* const argv[]) {
  if (const char* error = ap_check_cmd_context(cmd, GLOBAL_ONLY)) return error;
  bool is_local = argc && !strcasecmp(argv[0], "local");
  if (!is_local && !(argc && is_redis_url(argv[0])))
    return "WebSocketBus needs local, redis://host or redis+unix:/path";
  if (!is_local) hide_login(cmd);
  changed_server_config().redis.reset();
  const char* wrong = is_local ? nullptr : use_redis(cmd, argv[0]);
  for (int i = 1; i < argc && !wrong; i++) wrong = set_bus_option(cmd, argv[i]);
  return wrong;
}

const char* set_topic_history(cmd_parms* cmd, void*, int argc, char* const argv[]) {
  if (const char* error = ap_check_cmd_context(cmd, GLOBAL_ONLY)) return error;
  ServerConfig& config = changed_server_config();
  for (int i = 0; i < argc; i++) {
    uint64_t number = 0;
    apr_interval_time_t age = 0;
    constexpr apr_interval_time_t kLongest = apr_time_from_sec(366 * 24 * 60 * 60);
    if (const char* count = value_of(argv[i], "count");
        count && read_bytes(count, 0, 1'000'000, number))
      config.topic_history.count = uint32_t(number);
    else if (const char* bytes = value_of(argv[i], "bytes");
             bytes && read_bytes(bytes, 0, 1 << 30, number))
      config.topic_history.bytes = number;
    else if (const char* memory = value_of(argv[i], "memory");
             memory && read_bytes(memory, 64 << 10, uint64_t(64) << 30, number))
      config.topics.history_bytes = number;
    else if (const char* text = value_of(argv[i], "age");
             text && ap_timeout_parameter_parse(text, &age, "s") == APR_SUCCESS && age >= 0 &&
             age <= kLongest)
      config.topic_history.age_us = uint64_t(age);
    else
      return apr_psprintf(cmd->pool,
                          "WebSocketTopicHistory: \"%s\" is none of count=NUMBER, bytes=BYTES, "
                          "age=TIME, memory=BYTES, such as count=100 bytes=1M age=10min memory=32M",
                          argv[i]);
  }
  return argc ? nullptr : "WebSocketTopicHistory needs count=, bytes=, age= or memory=";
}

const char* set_max_topics(cmd_parms* cmd, void*, const char* most, const char* subscriptions) {
  if (const char* error = ap_check_cmd_context(cmd, GLOBAL_ONLY)) return error;
  ServerConfig& config = changed_server_config();
  uint64_t number = 0;
  if (!read_bytes(most, 1, 4 << 20, number))
    return apr_psprintf(cmd->pool, "WebSocketMaxTopics: \"%s\" is not a number from 1 to 4M", most);
  config.topics.topics = uint32_t(number);
  if (subscriptions && !read_bytes(subscriptions, 1, uint64_t(1) << 40, config.max_subscriptions))
    return apr_psprintf(cmd->pool,
                        "WebSocketMaxTopics: \"%s\" is not a number of subscriptions above 0",
                        subscriptions);
  return nullptr;
}

const char* set_max_subscriptions(cmd_parms* cmd, void* config, const char* most) {
  uint64_t number = 0;
  if (!read_bytes(most, 0, 1'000'000, number))
    return apr_psprintf(
        cmd->pool, "WebSocketMaxSubscriptions: \"%s\" is not a number from 0 to 1000000", most);
  section_of(config).max_subscriptions = int(number);
  needs_handler(cmd, section_of(config));
  return nullptr;
}

}  // namespace mws
