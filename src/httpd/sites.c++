#include "src/httpd/sites.h"

#include <ap_listen.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <memory>
#include <mutex>

#include "src/httpd/handler_site.h"
#include "src/httpd/named_handlers.h"

namespace mws {

namespace {

// The name changes with the layout; see children.c++.
constexpr const char* kTableKey = "mod_websocket-sites-1";

struct Row {
  char server[256];
  char location[768];
  std::atomic<bool> inherited;
};

// Rows are written by the parent only, before they count.
struct Table {
  std::atomic<unsigned> count;
  Row rows[kMaxSites];
};

Table* table;

unsigned port_of(const server_rec* s) {
  if (s->port) return s->port;
  if (s->addrs && s->addrs->host_port) return s->addrs->host_port;
  return ap_listeners && ap_listeners->bind_addr ? ap_listeners->bind_addr->port : 0;
}

// Nothing but what can stand in a report: the rest as in an address.
std::string printable(const std::string& text) {
  std::string clean;
  for (unsigned char each : text) {
    constexpr const char* kHex = "0123456789ABCDEF";
    if (each > ' ' && each < 0x7f) clean += char(each);
    else clean += {'%', kHex[each >> 4], kHex[each & 15]};
  }
  return clean;
}

void add_row(const std::string& server, const std::string& location, bool inherited) {
  unsigned number = table->count;
  Row& row = table->rows[number];
  memcpy(row.server, server.c_str(), server.size() + 1);
  memcpy(row.location, location.c_str(), location.size() + 1);
  row.inherited = inherited;
  table->count = number + 1;
}

}  // namespace

void make_sites(server_rec* s) {
  apr_pool_t* for_ever = s->process->pool;
  void* known = nullptr;
  apr_pool_userdata_get(&known, kTableKey, for_ever);
  table = static_cast<Table*>(known);
  if (table) return;
  void* shared =
      mmap(nullptr, sizeof(Table), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return;
  table = static_cast<Table*>(shared);                         // zeroes are what it begins with
  apr_pool_userdata_set(table, kTableKey, nullptr, for_ever);  // it copies the key
}

unsigned number_site(server_rec* s, const std::string& path, bool inherited) {
  if (!table) return kUncounted;
  std::string host = printable(s->server_hostname ? s->server_hostname : "");
  // What does not fit is cut off.
  std::string server = host.substr(0, sizeof Row::server - 7) + ":" + std::to_string(port_of(s));
  std::string location = printable(path).substr(0, sizeof Row::location - 1);
  for (unsigned number = 0; number < table->count; number++) {
    Row& row = table->rows[number];
    if (row.server != server || row.location != location) continue;
    if (!inherited) row.inherited = false;
    return number;
  }
  if (table->count + 1 < kMaxSites) add_row(server, location, inherited);
  else if (table->count + 1 == kMaxSites) add_row("", "others", false);
  return table->count - 1;
}

unsigned count_sites() { return table ? table->count.load() : 0; }

std::vector<SiteName> site_names() {
  std::vector<SiteName> names;
  for (unsigned number = 0; number < count_sites(); number++) names.push_back(site_name(number));
  return names;
}

SiteName site_name(unsigned number) {
  if (number >= count_sites()) return {};
  const Row& row = table->rows[number];
  return {row.server, row.location, row.inherited};
}

const Site& site_for(request_rec* r, const LocationConfig& merged) {
  static std::mutex lock;
  // Never freed: connections may outlast the destruction of statics.
  static auto& sites = *new std::vector<std::unique_ptr<Site>>;
  unsigned number = site_number_for(r, merged);
  ConnectionLimits limits = merged.connection_limits();
  std::lock_guard hold(lock);
  for (const auto& site : sites)
    if (site->number == number && site->limits == limits) return *site;
  if (number == kUncounted) sites.push_back(std::make_unique<Site>(number, limits));
  else sites.push_back(std::make_unique<HandlerSite>(number, limits));
  return *sites.back();
}

}  // namespace mws
