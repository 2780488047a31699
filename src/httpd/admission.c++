#include "src/httpd/admission.h"

#include <ap_mpm.h>
#include <apr_strings.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <span>
#include <string>

#include "src/base/log_limit.h"
#include "src/engine/handshake_rates.h"
#include "src/httpd/capacity.h"
#include "src/httpd/children.h"
#include "src/httpd/config.h"
#include "src/httpd/lifecycle.h"
#include "src/httpd/log.h"
#include "src/httpd/named_handlers.h"
#include "src/httpd/sites.h"

namespace mws {

namespace {

// The names change with the layouts: after a graceful restart with a newer module, children of both
// count for themselves.
constexpr const char* kCountsKey = "mod_websocket-open-counts-1";
constexpr const char* kRatesKey = "mod_websocket-handshake-rates-1";
constexpr size_t kBuckets = 1 << 18;  // 4 MB

// None while no configuration has had a limit.
std::optional<OpenCounts> counts;
std::optional<HandshakeRates> rates;

// The memory of that name, for ever. If it is not there, and needed, it is made and laid out.
template <class LayOut>
void* shared_memory(server_rec* s, const char* key, size_t bytes, LayOut lay_out) {
  apr_pool_t* for_ever = s->process->pool;
  void* memory = nullptr;
  apr_pool_userdata_get(&memory, key, for_ever);
  if (memory || !server_config().limits_clients) return memory;
  memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE,
                -1, 0);
  if (memory == MAP_FAILED) {
    ap_log_error(
        APLOG_MARK, APLOG_ERR, errno, s,
        "WS107: no memory to count WebSockets and opening handshakes by address and location in; "
        "the limits on them do not hold");
    return nullptr;
  }
  lay_out(memory);
  apr_pool_userdata_set(memory, key, nullptr, for_ever);  // it copies the key
  return memory;
}

OpenCounts::Sizes sizes_of_counts() {
  uint32_t children = uint32_t(mpm_number(AP_MPMQ_HARD_LIMIT_DAEMONS));
  constexpr uint64_t kMostRows = 1 << 20, kLeastRows = 1 << 12;
  uint32_t seats = children * 2 + 64;  // as the table of children has
  uint64_t room = seats * uint64_t(descriptors_for_websockets());
  return {.rows = uint32_t(std::clamp(room, kLeastRows, kMostRows)),
          .seats = std::min(seats, uint32_t(1) << 19),
          .sites = kMaxSites + 1};
}

// With mod_remoteip the address that it has found.
Network network_of(request_rec* r) {
  const apr_sockaddr_t* address = r->useragent_addr;
  if (address->family == APR_INET) return Network::of_v4(ntohl(address->sa.sin.sin_addr.s_addr));
#if APR_HAVE_IPV6
  if (address->family == APR_INET6)
    return Network::of_v6(std::span<const uint8_t, 16>(address->sa.sin6.sin6_addr.s6_addr));
#endif
  return {};
}

void tell_uncounted() {
  static LogLimit limit(1, 10'000);
  std::string left_out;
  if (limit.allows(left_out))
    server_log().write(
        LogLevel::warning,
        "WS209: the table of open WebSockets by address and location is full: some are not "
        "counted, and their limits do not hold" +
            left_out);
}

}  // namespace

// --- Directives ---

AdmissionLimits merge_admission_limits(const AdmissionLimits& base, const AdmissionLimits& add) {
  AdmissionLimits merged = add;
  if (add.per_location < 0) merged.per_location = base.per_location;
  if (add.per_address < 0) merged.per_address = base.per_address;
  if (add.handshakes < 0) {
    merged.handshakes = base.handshakes;
    merged.burst = base.burst;
  }
  return merged;
}

constexpr long kMost = 1'000'000;

const char* set_max_per_location(cmd_parms* cmd, void* config, const char* number) {
  changed_server_config().limits_clients = true;
  return read_number(cmd, number, 0, kMost, section_of(config).admission.per_location);
}

const char* set_max_per_address(cmd_parms* cmd, void* config, const char* number) {
  changed_server_config().limits_clients = true;
  return read_number(cmd, number, 0, kMost, section_of(config).admission.per_address);
}

const char* set_handshake_rate(cmd_parms* cmd, void* config, const char* rate, const char* burst) {
  changed_server_config().limits_clients = true;
  AdmissionLimits& limits = section_of(config).admission;
  if (const char* error = read_number(cmd, rate, 0, kMost, limits.handshakes)) return error;
  limits.burst = limits.handshakes;
  if (!burst) return nullptr;
  if (!limits.handshakes)
    return "WebSocketHandshakeRate 0 sets no limit, so no number may follow it";
  return read_number(cmd, burst, 1, kMost, limits.burst);
}

// --- Tables ---

void make_admission_tables(server_rec* s) {
  counts.reset();
  rates.reset();
  OpenCounts::Sizes sizes = sizes_of_counts();
  if (void* memory = shared_memory(s, kCountsKey, OpenCounts::bytes_for(sizes),
                                   [&](void* at) { OpenCounts::lay_out(at, sizes); }))
    counts.emplace(memory);
  if (void* memory = shared_memory(s, kRatesKey, HandshakeRates::bytes_for(kBuckets),
                                   [](void* at) { HandshakeRates::lay_out(at, kBuckets); }))
    rates.emplace(memory);
}

void enter_admission_tables() {
  if (counts) counts->enter(getpid());
}

void leave_admission_tables(pid_t child) {
  if (counts) counts->leave(child);
}

// --- Newcomers ---

void count_handshake(request_rec* r, const AdmissionLimits& limits) {
  if (limits.handshakes <= 0 || !rates) return;
  Network client = network_of(r);
  if (client.kind == Network::none) return;
  PreforkSignalsHeld held;
  HandshakeRates::Rate rate{uint32_t(limits.handshakes), uint32_t(limits.burst)};
  uint64_t wait_ns = rates->take(client, rate, monotonic_ms() * 1'000'000);
  if (!wait_ns) return;
  constexpr uint64_t kSecond_ns = 1'000'000'000;
  throw NoRoom{"WebSocketHandshakeRate " + std::to_string(limits.handshakes) + " " +
                   std::to_string(limits.burst),
               Refusal::handshake_rate, HTTP_TOO_MANY_REQUESTS,
               unsigned((wait_ns + kSecond_ns - 1) / kSecond_ns)};
}

OpenCounts::Newcomer newcomer_of(request_rec* r, const LocationConfig& location) {
  const AdmissionLimits& limits = location.admission;
  OpenCounts::Newcomer newcomer;
  newcomer.site = site_number_for(r, location);
  newcomer.max_of_site = uint32_t(std::max(0, limits.per_location));
  newcomer.max_of_network = uint32_t(std::max(0, limits.per_address));
  if (newcomer.max_of_network) newcomer.network = network_of(r);
  return newcomer;
}

GuestSlot::GuestSlot(const OpenCounts::Newcomer& newcomer) {
  if (!counts || (!newcomer.max_of_network && !newcomer.max_of_site)) return;
  OpenCounts::Opened opened = counts->open(newcomer);
  switch (opened.answer) {
    case OpenCounts::Answer::counted: row_ = opened.row; break;
    case OpenCounts::Answer::no_room: tell_uncounted(); break;
    case OpenCounts::Answer::network:
      throw NoRoom{"WebSocketMaxPerAddress " + std::to_string(newcomer.max_of_network),
                   Refusal::address, HTTP_TOO_MANY_REQUESTS};
    case OpenCounts::Answer::site:
      throw NoRoom{"WebSocketMaxPerLocation " + std::to_string(newcomer.max_of_site),
                   Refusal::location};
  }
}

GuestSlot::~GuestSlot() {
  if (row_) counts->close(row_);
}

}  // namespace mws
