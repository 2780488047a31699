// The child process: its engine, its resident loops, and how both end with it.
#pragma once
#include "src/engine/engine.h"
#include "src/httpd/module.h"

namespace mws {

// The engine of this child; its threads start with the first connection (Engine::start).
Engine& child_engine();

// Holds back the signals by which the parent ends a prefork child, whose handlers run the child's
// cleanups wherever its only thread happens to be. Nothing on other MPMs, which handle signals in a
// thread of their own.
class PreforkSignalsHeld {
 public:
  PreforkSignalsHeld();
  ~PreforkSignalsHeld();
  PreforkSignalsHeld(const PreforkSignalsHeld&) = delete;
  PreforkSignalsHeld& operator=(const PreforkSignalsHeld&) = delete;

 private:
  bool held_ = false;
  sigset_t before_;
};

// Serves the loop's one connection on the calling thread until it is gone or the child ends. True
// if the child ends. On prefork the caller has PreforkSignalsHeld.
bool run_resident(Loop& loop);

// A duplicate of the descriptor for a WebSocket. Throws std::system_error when there is none left
// but those that the child needs to go on serving HTTP: httpd gives a child up that can accept no
// connection, and refuses requests whose files it cannot open.
int duplicate_descriptor(int descriptor);

void start_child(apr_pool_t* pchild, server_rec* s);
void child_is_stopping(apr_pool_t* pchild, int graceful);

}  // namespace mws
