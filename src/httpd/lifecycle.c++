#include "src/httpd/lifecycle.h"

#include <ap_listen.h>
#include <ap_mpm.h>
#include <fcntl.h>
#include <http_core.h>
#include <mpm_common.h>
#include <poll.h>
#include <scoreboard.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstring>
#include <mutex>
#include <set>
#include <system_error>
#include <thread>

#include "src/base/clock.h"
#include "src/httpd/children.h"
#include "src/httpd/config.h"
#include "src/httpd/log.h"
#include "src/protocol/close_code.h"

namespace mws {

namespace {

// How long clients have to answer the close frame when the child has to be gone. The parent asks
// again after 3 seconds and kills after 9.
constexpr uint64_t kStopGrace_ms = 1000;
// And how long handlers then have to return.
constexpr uint64_t kJoinTimeout_ms = 1800;

struct Child {
  explicit Child(const ServerConfig& configured) : config(configured), engine(config.threads) {}
  const ServerConfig config;
  Engine engine;
  bool threaded = true;
  int descriptors = 0;  // that WebSockets may have: the first one beyond is httpd's
  int generation = 0;
  pid_t parent = 0;
  const char* pid_file = nullptr;

  std::mutex lock;
  std::vector<Loop*> resident;    // under lock; not used by a prefork child
  std::set<std::string> reasons;  // under lock; why connections stayed
  bool stopping = false;          // under lock
  bool draining = false;          // under lock

  // While the child is on its way out: written when it is told to stop after all.
  int alarm = -1;
  std::thread escort;
  std::atomic<bool> threads_are_gone = false;  // httpd's
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

int mpm_number(int query) {
  int value = 0;
  ap_mpm_query(query, &value);
  return value;
}

// All that a process may have but a reserve: for each thread of the MPM a connection and a file,
// and what modules hold.
int descriptors_for_websockets() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur > INT_MAX) return INT_MAX;
  int all = int(limit.rlim_cur);
  return all - std::min(all / 4, 64 + 2 * std::max(1, mpm_number(AP_MPMQ_MAX_THREADS)));
}

// --- Leaving ---

void stop_all(uint64_t grace_ms) {
  uint16_t code = child->draining ? child->config.drain_code : uint16_t(kCloseGoingAway);
  child->engine.stop(code, grace_ms);
  if (!child->threaded) return;  // perhaps in a signal handler: no locks
  std::lock_guard lock(child->lock);
  child->stopping = true;
  for (Loop* loop : child->resident) loop->any_thread_stop(code, grace_ms);
}

bool parent_stops() { return access(child->pid_file, F_OK) && errno == ENOENT; }

// A graceful stop has a time limit of its own.
uint64_t drain_time_ms(bool stops) {
  uint64_t over_ms = child->config.drain_ms;
  if (!stops || ap_graceful_shutdown_timeout <= 0) return over_ms;
  uint64_t limit_ms = uint64_t(ap_graceful_shutdown_timeout) * 1000;
  return std::min(over_ms, limit_ms - std::min(limit_ms, kStopGrace_ms * 2));
}

void drain_all(bool stops) {
  uint64_t over_ms = drain_time_ms(stops);
  uint16_t code = child->config.drain_code;
  try {
    std::lock_guard lock(child->lock);
    child->draining = true;
    child->engine.drain(code, over_ms);
    for (Loop* loop : child->resident) loop->any_thread_drain(code, over_ms);
  } catch (const std::bad_alloc&) {
    stop_all(kStopGrace_ms);
  }
}

int running_generation() { return ap_scoreboard_image->global->running_generation; }

bool is_event_mpm() { return !strcmp(ap_show_mpm(), "event"); }

// A child that leaves keeps its place on the scoreboard of the event MPM. Whether that keeps every
// child of the running generation from starting.
bool new_generation_waits() {
  int running = running_generation(), places = mpm_number(AP_MPMQ_HARD_LIMIT_DAEMONS);
  if (running == child->generation || !is_event_mpm()) return false;
  for (int i = 0; i < places; i++) {
    const process_score& place = ap_scoreboard_image->parent[i];
    if (!place.pid || place.generation == running) return false;
  }
  return true;
}

// Whether this child has to make room at once: there are as many children as there may be, and for
// some time none of them has been one that serves new clients.
class Need {
 public:
  bool to_make_room() {
    if (new_generation_waits()) return true;
    pid_t first = first_to_leave();
    if (first != first_ || somebody_serves() || children_alive() < most_)
      since_ms_ = monotonic_ms();
    first_ = first;
    return first == getpid() && monotonic_ms() - since_ms_ > kPatience_ms;
  }

 private:
  static constexpr uint64_t kPatience_ms = 2500;  // a new child may be on its way
  const int most_ = mpm_number(child->threaded ? AP_MPMQ_HARD_LIMIT_DAEMONS : AP_MPMQ_MAX_DAEMONS);
  uint64_t since_ms_ = monotonic_ms();
  pid_t first_ = 0;
};

// The threaded MPMs wake their main thread by a signal to their own process, which means nothing.
void sound_alarm(int, siginfo_t* signal, void*) {
  if (signal->si_pid == getpid()) return;
  int before = errno;
  uint64_t one = 1;
  [[maybe_unused]] ssize_t size = write(child->alarm, &one, sizeof one);
  errno = before;
}

// From here on a signal to stop does what this module wants of it.
void listen_for_alarm() {
  if (child->alarm >= 0) return;
  child->alarm = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  struct sigaction action {};
  action.sa_sigaction = sound_alarm;
  action.sa_flags = SA_SIGINFO;
  sigfillset(&action.sa_mask);
  sigaction(SIGTERM, &action, nullptr);
  if (!child->threaded) sigaction(SIGHUP, &action, nullptr);
}

bool alarm_sounds(int wait_ms) {
  pollfd alarm = {child->alarm, POLLIN, 0};
  return poll(&alarm, child->alarm >= 0, wait_ms) > 0;
}

// Serves on until the last WebSocket has left, or httpd's threads have where finished says so:
// drains when the generation is over or the server stops, stops when told.
template <class Finished>
void see_out(Finished finished) {
  constexpr int kLook_ms = 100;
  Need need;
  while (!finished()) {
    if (alarm_sounds(kLook_ms)) return stop_all(kStopGrace_ms);
    bool stops = parent_stops();
    if (!child->draining &&
        (stops || running_generation() != child->generation || getppid() != child->parent))
      drain_all(stops);
    if (need.to_make_room()) return stop_all(kStopGrace_ms);
  }
}

bool all_left() { return !open_here(); }

// Prefork goes by the scoreboard, on which the process would still stand as one that is free.
void show_on_scoreboard() {
  for (int i = 0; i < mpm_number(AP_MPMQ_HARD_LIMIT_DAEMONS); i++)
    if (ap_scoreboard_image->parent[i].pid == getpid())
      ap_update_child_status_from_indexes(i, 0, SERVER_GRACEFUL, nullptr);
}

// Prefork: why the child ends shows in what is blocked, as its cleanups may run in the handler of
// the signal.
bool told_to_stop_at_once() {
  sigset_t blocked;
  pthread_sigmask(SIG_BLOCK, nullptr, &blocked);
  return sigismember(&blocked, SIGTERM) || sigismember(&blocked, SIGHUP);
}

// Runs when the child has let go of all of its own connections.
apr_status_t end_child(void*) {
  if (child->escort.joinable()) {
    child->threads_are_gone = true;
    child->escort.join();
  }
  if (child->threaded ? !child->stopping : !told_to_stop_at_once()) {
    listen_for_alarm();
    if (!child->threaded) {  // what other MPMs have done
      ap_close_listeners();
      show_on_scoreboard();
    }
    see_out(all_left);
  }
  stop_all(kStopGrace_ms);
  if (!child->engine.join(kJoinTimeout_ms)) {
    if (child->threaded)
      server_log().write(LogLevel::error, "a handler does not return; the child ends without it");
    _exit(0);
  }
  leave_children_table(getpid());
  return APR_SUCCESS;
}

// --- Prefork: a resident connection ---

// The process serves nothing else, and signals are held back: what has arrived is looked at here,
// stays pending, and is handled when the connection has been closed and the caller lifts the mask.
void heed_pending_signals(Loop& loop) {
  sigset_t pending;
  sigpending(&pending);
  for (int signal : {SIGTERM, SIGINT, SIGHUP})
    if (sigismember(&pending, signal)) return loop.any_thread_stop(kCloseGoingAway, kStopGrace_ms);
  loop.any_thread_drain(child->config.drain_code, drain_time_ms(parent_stops()));
}

bool run_resident_on_prefork(Loop& loop) {
  int signals = signalfd(-1, &ending_signals(), SFD_CLOEXEC | SFD_NONBLOCK);
  if (signals >= 0) loop.when_readable(signals, [&] { heed_pending_signals(loop); });
  loop.run_while_connected();
  if (signals >= 0) close(signals);
  return loop.stopping();
}

}  // namespace

bool child_serves() { return child != nullptr; }

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
  if (!child->threaded) return run_resident_on_prefork(loop);
  {
    std::lock_guard lock(child->lock);
    child->resident.push_back(&loop);
    if (child->stopping) loop.any_thread_stop(kCloseGoingAway, kStopGrace_ms);
    else if (child->draining) loop.any_thread_drain(child->config.drain_code, 0);
  }
  loop.run_while_connected();
  std::lock_guard lock(child->lock);
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

bool is_first_to_stay(const char* reason) {
  std::lock_guard lock(child->lock);
  return child->reasons.insert(reason).second;
}

int prepare_children(apr_pool_t*, apr_pool_t*, apr_pool_t*, server_rec* s) {
  if (ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_CREATE_PRE_CONFIG) return OK;
  make_children_table(s);
  if (!server_config().serves_websockets) return OK;
  long children = mpm_number(AP_MPMQ_MAX_DAEMONS), places = mpm_number(AP_MPMQ_HARD_LIMIT_DAEMONS);
  long each = descriptors_for_websockets(), wanted = server_config().max_websockets;
  if (each == INT_MAX) return OK;
  ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, s,
               "room for %ld WebSockets: %ld in each of up to %ld child processes, by their "
               "descriptor limit",
               each * children, each, children);
  if (wanted && wanted > each * children)
    ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s,
                 "WebSocketMaxConnections %ld cannot be reached: the descriptor limit has room for "
                 "%ld; raise it "
                 "(ulimit -n) or MaxRequestWorkers",
                 wanted, each * children);
  if (is_event_mpm() && places <= children)
    ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s,
                 "ServerLimit %ld leaves children that drain no room beside %ld new ones, so their "
                 "WebSockets may be "
                 "closed at once on a graceful restart; set it to %ld",
                 places, children, 2 * children);
  return OK;
}

void start_child(apr_pool_t* pchild, server_rec*) {
  const ServerConfig& config = server_config();
  bool threaded = mpm_number(AP_MPMQ_IS_THREADED) != AP_MPMQ_NOT_SUPPORTED;
  int workers = mpm_number(threaded ? AP_MPMQ_MAX_THREADS : AP_MPMQ_MAX_DAEMONS);
  enter_children_table(config.max_websockets ? config.max_websockets : INT_MAX,
                       config.max_resident < 0 ? std::max(1, workers / 2) : config.max_resident,
                       !threaded);
  if (!config.serves_websockets) return;
  child = new Child(config);
  child->threaded = threaded;
  child->descriptors = descriptors_for_websockets();
  child->generation = mpm_number(AP_MPMQ_GENERATION);
  child->parent = getppid();
  child->pid_file = ap_runtime_dir_relative(pchild, ap_pid_fname);
  ending_signals();
  apr_pool_cleanup_register(pchild, nullptr, end_child, apr_pool_cleanup_null);
}

// Prefork goes on with end_child at once, which knows more.
void child_is_stopping(apr_pool_t*, int graceful) {
  leave_service();
  if (!child || !child->threaded) return;
  if (!graceful) return stop_all(kStopGrace_ms);
  listen_for_alarm();
  if (running_generation() != child->generation) drain_all(false);
  // httpd now waits for its threads; resident connections hold some of them.
  SignalsBlocked blocked;
  try {
    child->escort = std::thread([] { see_out([] { return child->threads_are_gone.load(); }); });
  } catch (const std::system_error&) {
    stop_all(kStopGrace_ms);
  }
}

void child_status_changed(server_rec*, pid_t pid, ap_generation_t, int, mpm_child_status status) {
  if (status == MPM_CHILD_EXITED) leave_children_table(pid);
}

}  // namespace mws
