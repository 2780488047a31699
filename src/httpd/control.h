// How children of the server are asked for their connections. Where the configuration shows the
// status, each child has a thread for it, which listens on an abstract Unix socket and answers
// processes of the same server and user only: a connection for each question, a text each way.
// Without nlohmann/json there is none of it.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "src/httpd/module.h"

namespace mws {

struct Order;

// What the parent has made for the children; it outlives restarts.
struct ControlKeys {
  uint64_t name;       // of this server, for its sockets
  uint8_t secret[32];  // for tokens
};

// Before the children are made.
void make_control(server_rec* s);
// Nothing if there was no memory for it.
const ControlKeys* control_keys();

// In a child that begins: before others know of it, who asks then waits; and once it can answer.
void open_control();
void start_control();
// At its end, perhaps in a signal handler. False if the thread has not ended in time: it may go on
// until the process is gone.
bool end_control();

// What the children say.
struct Found {
  std::string rows;  // JSON objects, with commas between them
  size_t listed = 0;
  uint64_t total = 0, closed = 0;
  bool incomplete = false;        // there may be more
  std::vector<pid_t> unanswered;  // children that have said nothing
};
// On a thread of httpd's, for a few seconds at most. Throws std::bad_alloc.
Found ask_children(const Order& order);

}  // namespace mws
