#include "src/httpd/children.h"

#include <ap_mpm.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>

#include "src/engine/process.h"
#include "src/httpd/capacity.h"

namespace mws {

namespace {

struct Row {
  std::atomic<pid_t> child;  // 0: free
  std::atomic<int> open, resident, generation;
  std::atomic<bool> leaves, drains;
};

// The name changes with the layout: after a graceful restart with a newer module, children of both
// have a table each.
constexpr const char* kTableKey = "mod_websocket-children-2";

struct Table {
  size_t size;
  Row rows[1];
};

Table* table;
Row spare{};  // of a child that found no row: it counts its own alone
Row* own = &spare;
int max_websockets = INT_MAX, max_resident = INT_MAX;
bool resident_in_all = false;

int sum(std::atomic<int> Row::*count) {
  int all = (spare.*count).load();
  for (size_t i = 0; table && i < table->size; i++)
    if (table->rows[i].child) all += table->rows[i].*count;
  return all;
}

}  // namespace

void make_children_table(server_rec* s) {
  apr_pool_t* for_ever = s->process->pool;
  void* known = nullptr;
  apr_pool_userdata_get(&known, kTableKey, for_ever);
  table = static_cast<Table*>(known);
  if (table) return;
  int children = 0;
  ap_mpm_query(AP_MPMQ_HARD_LIMIT_DAEMONS, &children);
  // Beside those that the MPM counts there are some that it has already given up.
  size_t rows = size_t(children) * 2 + 64;
  void* shared = mmap(nullptr, sizeof(Table) + rows * sizeof(Row), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return;
  table = static_cast<Table*>(shared);  // zeroes are what it begins with
  table->size = rows;
  apr_pool_userdata_set(table, kTableKey, nullptr, for_ever);  // it copies the key
}

void enter_children_table(int websockets, int resident, bool in_all) {
  max_websockets = websockets;
  max_resident = resident;
  resident_in_all = in_all;
  for (size_t i = 0; table && i < table->size; i++) {
    Row& row = table->rows[i];
    pid_t before = row.child;
    if (before && !has_ended(before)) continue;
    if (!row.child.compare_exchange_strong(before, getpid())) continue;
    row.open = row.resident = 0;
    row.leaves = row.drains = false;
    row.generation = mpm_number(AP_MPMQ_GENERATION);
    own = &row;
    return;
  }
}

void leave_children_table(pid_t child) {
  for (size_t i = 0; table && i < table->size; i++) {
    pid_t expected = child;
    if (table->rows[i].child.compare_exchange_strong(expected, 0)) return;
  }
}

Slot::Slot() {
  own->open++;
  if (max_websockets == INT_MAX || sum(&Row::open) <= max_websockets) return;
  own->open--;
  throw NoRoom{"WebSocketMaxConnections " + std::to_string(max_websockets), Refusal::connections};
}

Slot::~Slot() { own->open--; }

ResidentSlot::ResidentSlot() {
  own->resident++;
  if ((resident_in_all ? sum(&Row::resident) : int(own->resident)) <= max_resident) return;
  own->resident--;
  throw NoRoom{"WebSocketMaxResident " + std::to_string(max_resident), Refusal::resident};
}

ResidentSlot::~ResidentSlot() { own->resident--; }

void mark_quiescing() { own->leaves = true; }
void mark_draining() { own->drains = true; }

std::vector<ChildView> children_now() {
  std::vector<ChildView> all;
  for (size_t i = 0; table && i < table->size; i++) {
    const Row& row = table->rows[i];
    if (pid_t pid = row.child) all.push_back({pid, row.generation, row.leaves, row.drains});
  }
  return all;
}

int children_alive() {
  int alive = 0;
  for (size_t i = 0; table && i < table->size; i++) alive += table->rows[i].child != 0;
  return alive;
}

bool somebody_serves() {
  for (size_t i = 0; table && i < table->size; i++)
    if (table->rows[i].child && !table->rows[i].leaves) return true;
  return !table;
}

pid_t next_to_make_room() {
  for (size_t i = 0; table && i < table->size; i++)
    if (table->rows[i].child && table->rows[i].leaves) return table->rows[i].child;
  return 0;
}

unsigned open_here() { return unsigned(own->open); }

}  // namespace mws
