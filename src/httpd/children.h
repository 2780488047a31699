// What the server's children know of each other: a table in memory that all of them share, with a
// row for each, those of earlier generations too. A child writes into its own row only. Any thread.
#pragma once
#include <string>
#include <vector>

#include "src/base/counters.h"
#include "src/httpd/module.h"

namespace mws {

// Before the children are made; the table outlives restarts.
void make_children_table(server_rec* s);
// In a child that begins, and in the parent for one that has ended.
void enter_children_table(int max_websockets, int max_resident, bool resident_in_all);
void leave_children_table(pid_t child);

// Why a WebSocket is refused: a limit is reached. The text names it.
struct NoRoom {
  std::string limit;
  Refusal refusal;
  int status = HTTP_SERVICE_UNAVAILABLE;
  unsigned retry_after_s = 10;
};

// One of the WebSockets that the server may hold (WebSocketMaxConnections); a connection's
// transport has it as a base, which takes no bytes and comes first. Throws NoRoom.
class Slot {
 public:
  Slot();
  ~Slot();
  Slot(const Slot&) = delete;
  Slot& operator=(const Slot&) = delete;
};

// Likewise among those that may hold a thread or process of httpd's (WebSocketMaxResident).
class ResidentSlot {
 public:
  ResidentSlot();
  ~ResidentSlot();
  ResidentSlot(const ResidentSlot&) = delete;
  ResidentSlot& operator=(const ResidentSlot&) = delete;
};

// This child takes no new connections any more; closes those that it has, over some time.
void mark_quiescing();
void mark_draining();

struct ChildView {
  pid_t pid;
  int generation;
  bool leaves, drains;
};
// Throws std::bad_alloc.
std::vector<ChildView> children_now();
// Children there are, and whether any of them takes new connections.
int children_alive();
bool somebody_serves();
// Of the children that leave, the one that is to make room if that is needed; 0: none leaves.
pid_t next_to_make_room();

// WebSockets of this child, those in the making too.
unsigned open_here();

}  // namespace mws
