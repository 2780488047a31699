// The server's counters: blocks in memory that all children share, those of earlier generations
// too. It outlives restarts and the death of children.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "src/base/counters.h"
#include "src/engine/meters.h"
#include "src/httpd/children.h"
#include "src/httpd/module.h"
#include "src/httpd/sites.h"

namespace mws {

// Before the children are made.
void make_counters(server_rec* s);
// In a child that begins: what became of others' counters that nobody saw the end of.
void enter_counters();
// In the parent, for a child that has ended.
void leave_counters(pid_t child);

// In a child, for a loop of its own. A resident one's turns are not counted: it has nobody who
// waits. Throws std::bad_alloc.
std::unique_ptr<Meters> meters_for_loop(bool resident);
// In a child, for all threads that are no loop's, which add by Counter::any_thread_add. Any thread.
Counters& process_counters(unsigned site_number);
inline void count_refused(unsigned site_number, Refusal why) {
  process_counters(site_number).refused[size_t(why)].any_thread_add();
}
// Of the whole server; by any_thread_add.
Counter& log_lines_lost();

// All that has been counted, added up.
struct Snapshot {
  Snapshot();  // throws std::bad_alloc

  struct Location {
    SiteName name;
    Counters counters;
  };
  struct Child {
    ChildView is;
    uint64_t open = 0, buffered_bytes = 0;
  };
  apr_time_t time, started;  // of now; of the server, and of what is counted
  // Not those that a virtual host merely inherits, while there is nothing to tell.
  std::vector<std::unique_ptr<Location>> locations;
  std::vector<Child> children;
  Counters total;
  LoopCounters loops;
  uint64_t log_lines_lost;
};

}  // namespace mws
