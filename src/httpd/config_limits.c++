#include "src/httpd/config_limits.h"

#include <apr_strings.h>

#include <algorithm>
#include <string_view>

#include "src/httpd/config.h"
#include "src/httpd/options.h"
#include "src/protocol/session.h"

namespace mws {

namespace {

constexpr uint64_t kDay_ms = 24 * 60 * 60 * 1000;
constexpr uint64_t kLongest_ms = 30 * kDay_ms;

LimitsConfig& limits_of(void* config) { return section_of(config).connection; }

bool is_off(const char* text) { return !strcasecmp(text, "off"); }

// "RATE" or "RATE:BURST"; without a burst twice the rate may come at once.
bool read_rate(const char* text, uint64_t most, std::optional<ConnectionLimits::Rate>& into) {
  std::string_view rate = text, burst;
  if (size_t colon = rate.find(':'); colon != rate.npos) {
    burst = rate.substr(colon + 1);
    rate = rate.substr(0, colon);
  }
  uint64_t per_s = 0, at_once = 0;
  if (!read_bytes(rate, 1, most, per_s)) return false;
  if (burst.data() && !read_bytes(burst, 1, most, at_once)) return false;
  if (!burst.data()) at_once = std::min(per_s * 2, most);
  into = {uint32_t(per_s), uint32_t(at_once)};
  return true;
}

}  // namespace

const char* set_ping(cmd_parms* cmd, void* config, const char* interval, const char* timeout) {
  LimitsConfig::Ping ping;
  if (is_off(interval) && !timeout) {
    ping.interval_ms = 0;
  } else {
    if (!read_time(interval, 100, kDay_ms, ping.interval_ms))
      return apr_psprintf(cmd->pool,
                          "WebSocketPing: \"%s\" is neither off nor a time from 100ms to a day, "
                          "such as 30 or 2min",
                          interval);
    ping.timeout_ms = ping.interval_ms;
    if (timeout && is_off(timeout)) ping.timeout_ms = 0;
    else if (timeout && !read_time(timeout, 100, kDay_ms, ping.timeout_ms))
      return apr_psprintf(cmd->pool,
                          "WebSocketPing: the time for the pong, \"%s\", is neither off nor a time "
                          "from 100ms to a day, such as 30",
                          timeout);
  }
  limits_of(config).ping = ping;
  return nullptr;
}

const char* set_idle_timeout(cmd_parms* cmd, void* config, const char* time) {
  uint64_t ms = 0;
  if (!is_off(time) && !read_time(time, 100, kLongest_ms, ms))
    return apr_psprintf(cmd->pool,
                        "WebSocketIdleTimeout: \"%s\" is neither off nor a time from 100ms to 30 "
                        "days, such as 600 or 10min",
                        time);
  limits_of(config).idle_ms = ms;
  return nullptr;
}

const char* set_close_timeout(cmd_parms* cmd, void* config, const char* time) {
  uint64_t ms = 0;
  if (!read_time(time, 100, 10 * 60 * 1000, ms))
    return apr_psprintf(cmd->pool,
                        "WebSocketCloseTimeout: \"%s\" is not a time from 100ms to 10min, such as "
                        "5",
                        time);
  limits_of(config).close_ms = ms;
  return nullptr;
}

const char* set_max_lifetime(cmd_parms* cmd, void* config, const char* time, const char* jitter) {
  LimitsConfig::Lifetime lifetime;
  if (!is_off(time) && !read_time(time, 100, 365 * kDay_ms, lifetime.most_ms))
    return apr_psprintf(cmd->pool,
                        "WebSocketMaxLifetime: \"%s\" is neither off nor a time from 100ms to a "
                        "year, such as 12h",
                        time);
  uint64_t percent = lifetime.jitter;
  std::string_view number = jitter ? jitter : "10%";
  bool has_sign = number.ends_with('%');
  if (!has_sign || !read_bytes(number.substr(0, number.size() - 1), 0, 100, percent))
    return apr_psprintf(cmd->pool,
                        "WebSocketMaxLifetime: \"%s\" does not say by how much a lifetime may be "
                        "shorter, 0%% to 100%%",
                        jitter);
  lifetime.jitter = unsigned(percent);
  limits_of(config).lifetime = lifetime;
  return nullptr;
}

const char* set_rate_limit(cmd_parms* cmd, void* config, int argc, char* const argv[]) {
  auto& rates = limits_of(config).rates;
  bool all_right = argc > 0;
  int at = 0;
  for (; at < argc && all_right; at++) {
    const char* option = argv[at];
    std::string_view word = option;
    auto read = [&](std::string_view name, std::optional<ConnectionLimits::Rate>& into,
                    uint64_t most = UINT32_MAX) {
      const char* value = value_of(option, name);
      if (value && is_off(value)) into = ConnectionLimits::Rate{};
      return value && (is_off(value) || read_rate(value, most, into));
    };
    if (word == "pause" || word == "close") rates.closes = word == "close";
    else
      all_right = read("messages", rates.messages) || read("bytes", rates.bytes) ||
                  read("control", rates.control_frames, 1'000'000);
  }
  if (all_right) return nullptr;
  return apr_psprintf(cmd->pool,
                      "WebSocketRateLimit: \"%s\" is none of messages=RATE[:BURST], "
                      "bytes=RATE[:BURST], control=RATE[:BURST], pause, close; a RATE is a number "
                      "a second from 1 on, or off",
                      argc ? argv[at - 1] : "");
}

const char* set_send_buffer(cmd_parms* cmd, void* config, const char* bytes) {
  uint64_t most = 0;
  if (!read_bytes(bytes, 4096, 1 << 30, most))
    return apr_psprintf(cmd->pool,
                        "WebSocketSendBuffer: \"%s\" is not a number of bytes from 4K to 1G, such "
                        "as 1M",
                        bytes);
  limits_of(config).send_buffer = most;
  return nullptr;
}

const char* set_slow_client(cmd_parms* cmd, void* config, const char* what) {
  using Slow = ConnectionLimits::Slow;
  auto& slow = limits_of(config).slow;
  if (!strcasecmp(what, "pause")) slow = Slow::pause;
  else if (!strcasecmp(what, "close")) slow = Slow::close;
  else if (!strcasecmp(what, "drop")) slow = Slow::drop;
  else
    return apr_psprintf(cmd->pool,
                        "WebSocketSlowClient: \"%s\" is none of pause (it is not read until it has "
                        "read), close (with 1008), drop (messages on top of WebSocketSendBuffer)",
                        what);
  return nullptr;
}

const char* set_max_fragments(cmd_parms* cmd, void* config, const char* number) {
  uint64_t most = 0;
  if (!read_bytes(number, 1, kMaxFragments, most))
    return apr_psprintf(cmd->pool, "WebSocketMaxFragments: \"%s\" is not a number from 1 to %u",
                        number, unsigned(kMaxFragments));
  limits_of(config).max_fragments = uint32_t(most);
  return nullptr;
}

const char* set_max_buffered(cmd_parms* cmd, void*, const char* bytes) {
  if (const char* error = ap_check_cmd_context(cmd, GLOBAL_ONLY)) return error;
  if (!read_bytes(bytes, 1 << 20, uint64_t(1) << 40, changed_server_config().max_buffered))
    return apr_psprintf(cmd->pool,
                        "WebSocketMaxBuffered: \"%s\" is not a number of bytes from 1M to 1024G, "
                        "such as 256M",
                        bytes);
  return nullptr;
}

ConnectionLimits LimitsConfig::limits() const {
  ConnectionLimits set;
  Ping pings = ping.value_or(Ping());
  Lifetime ends = lifetime.value_or(Lifetime());
  set.ping_ms = pings.interval_ms;
  set.pong_timeout_ms = pings.timeout_ms;
  set.idle_ms = idle_ms.value_or(set.idle_ms);
  set.close_timeout_ms = close_ms.value_or(set.close_timeout_ms);
  set.lifetime_ms = ends.most_ms;
  set.lifetime_jitter = ends.jitter;
  set.messages = rates.messages.value_or(set.messages);
  set.bytes = rates.bytes.value_or(set.bytes);
  set.control_frames = rates.control_frames.value_or(set.control_frames);
  set.rate_closes = rates.closes.value_or(set.rate_closes);
  set.high_water = size_t(send_buffer.value_or(set.high_water));
  set.slow = slow.value_or(set.slow);
  return set;
}

LimitsConfig merge_limits(const LimitsConfig& base, const LimitsConfig& add) {
  LimitsConfig merged = add;
  auto inherit = [](auto& to, const auto& from) {
    if (!to) to = from;
  };
  inherit(merged.ping, base.ping);
  inherit(merged.idle_ms, base.idle_ms);
  inherit(merged.close_ms, base.close_ms);
  inherit(merged.lifetime, base.lifetime);
  inherit(merged.rates.messages, base.rates.messages);
  inherit(merged.rates.bytes, base.rates.bytes);
  inherit(merged.rates.control_frames, base.rates.control_frames);
  inherit(merged.rates.closes, base.rates.closes);
  inherit(merged.send_buffer, base.send_buffer);
  inherit(merged.slow, base.slow);
  inherit(merged.max_fragments, base.max_fragments);
  return merged;
}

}  // namespace mws
