// The locations that have counters. A location is known by its server and the path of the section
// that has the WebSocketHandler; it has a number that is the same in all children and generations.
#pragma once
#include <string>
#include <vector>

#include "src/engine/site.h"
#include "src/httpd/config.h"

namespace mws {

// Past it the last number stands for all others.
constexpr unsigned kMaxSites = 1024;
// Of a site whose connections are not counted.
constexpr unsigned kUncounted = kMaxSites;

struct SiteName {
  std::string server;    // "host:port"
  std::string location;  // the section's path
  // The server has it from the main server's configuration, as every other has.
  bool inherited = false;
};

// Before the children are made; the table outlives restarts.
void make_sites(server_rec* s);
// In the parent, while it takes in a configuration: the number that this location had before, or a
// new one.
unsigned number_site(server_rec* s, const std::string& location, bool inherited);

// Those that were ever numbered, in the order of their numbers. Any thread; throws std::bad_alloc.
unsigned count_sites();
std::vector<SiteName> site_names();
SiteName site_name(unsigned number);  // empty for one that has none

// In a child: the site of a WebSocket, by its request and the configuration that holds for it. Any
// thread; throws std::bad_alloc.
const Site& site_for(request_rec* r, const LocationConfig& merged);

}  // namespace mws
