// The child process: its engine, its resident loops, and how both end with it.
//
// Told to stop, or to restart at once, a child closes its WebSockets and is gone within 2 seconds.
// On a graceful restart or stop it drains: the closes are spread over WebSocketDrainTimeout. A
// child that the parent merely has no more use for serves its WebSockets until they leave.
#pragma once
#include "src/httpd/module.h"

#include <ap_mpm.h>
#include <scoreboard.h>

#include <functional>

#include "src/engine/engine.h"

namespace mws {

// Whether this child has WebSockets to serve, or publishes, at all; nothing else here may be called
// if not.
bool child_serves();

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

// Serves the loop's one connection on the calling thread until it is gone. True if the child ended
// it. On prefork the caller has PreforkSignalsHeld.
bool run_resident(Loop& loop);

// Has every loop of this child run the task, on its thread; one that ends meanwhile may not. Throws
// std::bad_alloc.
void any_thread_post_to_loops(const std::function<void(Loop&)>& task);

// Hooks.
void start_child(apr_pool_t* pchild, server_rec* s);
void child_is_stopping(apr_pool_t* pchild, int graceful);
void child_status_changed(server_rec* s, pid_t pid, ap_generation_t generation, int slot,
                          mpm_child_status status);

}  // namespace mws
