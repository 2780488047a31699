#include "src/httpd/lifecycle.h"

#include <ap_mpm.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>
#include <mutex>
#include <system_error>

#include "src/httpd/config.h"
#include "src/protocol/close_code.h"

namespace mws {

namespace {

// How long clients have to answer the close frame when the child ends. The parent asks again after
// 3 seconds and kills after 9.
constexpr uint64_t kStopGrace_ms = 1000;

struct Child {
  explicit Child(unsigned threads) : engine(threads) {}
  Engine engine;
  bool threaded = true;
  int descriptors = 0;  // that WebSockets may have: the first one beyond is httpd's
  std::mutex resident_lock;
  std::vector<Loop*> resident;  // under resident_lock; not used by a prefork child
  bool stopping = false;        // under resident_lock
};

// Made by start_child and never destroyed: on prefork its end comes in a signal handler, where
// memory must not be freed.
Child* child;

const sigset_t& ending_signals() {
  static const sigset_t signals = [] {
    sigset_t set;
    sigemptyset(&set);
    for (int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGWINCH}) sigaddset(&set, signal);
    return set;
  }();
  return signals;
}

// All that the process may have but a reserve: for each thread of the MPM a connection and a file,
// and what modules hold.
int descriptors_for_websockets() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur > INT_MAX) return INT_MAX;
  int threads = 1, all = int(limit.rlim_cur);
  ap_mpm_query(AP_MPMQ_MAX_THREADS, &threads);
  return all - std::min(all / 4, 64 + 2 * threads);
}

apr_status_t end_child(void*) {
  child->engine.stop(kCloseGoingAway, kStopGrace_ms);
  child->engine.join();
  return APR_SUCCESS;
}

}  // namespace

Engine& child_engine() { return child->engine; }

PreforkSignalsHeld::PreforkSignalsHeld() {
  if (child->threaded) return;
  held_ = true;
  pthread_sigmask(SIG_BLOCK, &ending_signals(), &before_);
}

PreforkSignalsHeld::~PreforkSignalsHeld() {
  if (held_) pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

bool run_resident(Loop& loop) {
  if (!child->threaded) {
    // A signal that arrives stays pending, is seen by the loop, and is handled when the connection
    // has been closed and the caller lifts the mask.
    int signals = signalfd(-1, &ending_signals(), SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals >= 0) loop.stop_when_readable(signals, kCloseGoingAway, kStopGrace_ms);
    loop.run_while_connected();
    if (signals >= 0) close(signals);
    return loop.stopping();
  }
  {
    std::lock_guard lock(child->resident_lock);
    child->resident.push_back(&loop);
    if (child->stopping) loop.any_thread_stop(kCloseGoingAway, kStopGrace_ms);
  }
  loop.run_while_connected();
  std::lock_guard lock(child->resident_lock);
  std::erase(child->resident, &loop);
  return loop.stopping();
}

int duplicate_descriptor(int descriptor) {
  int duplicate = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
  if (duplicate >= child->descriptors) {  // the lowest free number was given
    close(duplicate);
    duplicate = -1;
    errno = EMFILE;
  }
  if (duplicate < 0) throw std::system_error(errno, std::generic_category(), "descriptors");
  return duplicate;
}

void start_child(apr_pool_t* pchild, server_rec*) {
  child = new Child(configured_threads());
  int threads = AP_MPMQ_NOT_SUPPORTED;
  ap_mpm_query(AP_MPMQ_IS_THREADED, &threads);
  child->threaded = threads != AP_MPMQ_NOT_SUPPORTED;
  child->descriptors = descriptors_for_websockets();
  ending_signals();
  // Runs when the child has let go of all of its own connections.
  apr_pool_cleanup_register(pchild, nullptr, end_child, apr_pool_cleanup_null);
}

void child_is_stopping(apr_pool_t*, int) {
  if (!child) return;
  child->engine.stop(kCloseGoingAway, kStopGrace_ms);
  if (!child->threaded) return;  // in a signal handler: no locks
  std::lock_guard lock(child->resident_lock);
  child->stopping = true;
  for (Loop* loop : child->resident) loop->any_thread_stop(kCloseGoingAway, kStopGrace_ms);
}

}  // namespace mws
