#include "src/httpd/lifecycle.h"

#include <ap_listen.h>
#include <ap_mpm.h>
#include <mpm_common.h>
#include <poll.h>
#include <scoreboard.h>
#include <sys/eventfd.h>
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
#include "src/httpd/admission.h"
#include "src/httpd/capacity.h"
#include "src/httpd/children.h"
#include "src/httpd/control.h"
#include "src/httpd/log.h"
#include "src/httpd/metrics.h"
#include "src/httpd/named_handlers.h"
#include "src/httpd/topics.h"
#include "src/protocol/close_code.h"

namespace mws {

namespace {

// How long clients have to answer the close frame when the child has to be gone. The parent asks
// again after 3 seconds and kills after 9.
constexpr uint64_t kStopGrace_ms = 1000;
// From the stop to the end: the grace, and time for handlers to return.
constexpr uint64_t kJoinTimeout_ms = 1800;

struct Child {
  explicit Child(const ServerConfig& configured)
      : config(configured),
        engine(
            config.threads, [] { return meters_for_loop(false); }, config.max_buffered) {}
  const ServerConfig config;
  Engine engine;
  bool threaded = true;
  int generation = 0;
  pid_t parent = 0;
  const char* pid_file = nullptr;
  bool sees_pid_file = false;
  bool is_parent = false;  // httpd -X: one process does it all

  std::mutex lock;
  std::vector<Loop*> resident;  // under lock; on prefork only with PreforkSignalsHeld
  // Written under lock; read without it by the thread that writes.
  bool stopping = false;
  bool draining = false;

  // While the child is on its way out:
  int alarm = -1;                              // readable once it is told to stop after all
  std::thread watcher;                         // runs watch_until while httpd waits for its threads
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

// --- Leaving ---

void stop_all(uint16_t code) {
  child->engine.stop(code, kStopGrace_ms);
  if (!child->threaded) return;  // perhaps in a signal handler: no locks
  std::lock_guard lock(child->lock);
  child->stopping = true;
  for (Loop* loop : child->resident) loop->any_thread_stop(code, kStopGrace_ms);
}

// Of what ends without having been told to stop.
uint16_t leaving_code() {
  return child->draining ? child->config.drain_code : uint16_t(kCloseGoingAway);
}

// httpd removes its pid file when it stops, gracefully too; children are told of a graceful stop in
// no other way.
bool parent_stops() {
  return child->sees_pid_file && access(child->pid_file, F_OK) && errno == ENOENT;
}

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
    mark_draining();
    child->engine.drain(code, over_ms);
    for (Loop* loop : child->resident) loop->any_thread_drain(code, over_ms);
  } catch (const std::bad_alloc&) {
    stop_all(code);
  }
}

int running_generation() { return ap_scoreboard_image->global->running_generation; }

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

// Whether this child has to make room at once: it is the next to do so, there are as many children
// as there may be, and none has been one that serves new clients for some time; less where a new
// generation waits.
class RoomForOthers {
 public:
  bool is_needed() {
    pid_t next = next_to_make_room();
    bool waits = new_generation_waits();
    bool scarce = waits || (!somebody_serves() && children_alive() >= most_);
    if (next != next_ || !scarce) since_ms_ = monotonic_ms();
    next_ = next;
    return next == getpid() &&
           monotonic_ms() - since_ms_ > (waits ? kPatienceWhenSure_ms : kPatience_ms);
  }

 private:
  static constexpr uint64_t kPatience_ms = 2500;         // a new child may be on its way
  static constexpr uint64_t kPatienceWhenSure_ms = 500;  // or just about to enter the scoreboard
  const int most_ = mpm_number(child->threaded ? AP_MPMQ_HARD_LIMIT_DAEMONS : AP_MPMQ_MAX_DAEMONS);
  uint64_t since_ms_ = monotonic_ms();
  pid_t next_ = 0;
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
  if (child->alarm < 0) return;
  struct sigaction action {};
  action.sa_sigaction = sound_alarm;
  action.sa_flags = SA_SIGINFO;
  sigfillset(&action.sa_mask);
  sigaction(SIGTERM, &action, nullptr);
  if (!child->threaded) sigaction(SIGHUP, &action, nullptr);
}

bool alarm_sounds(int wait_ms) {
  pollfd alarm = {child->alarm, POLLIN, 0};  // poll passes over a negative descriptor
  return poll(&alarm, 1, wait_ms) > 0;
}

// Waits until finished() holds. Meanwhile drains when the generation is over, the server stops or
// the parent is gone, and stops when it is told to or has to make room. On the thread that ends the
// child, or on the watcher.
template <class Finished>
void watch_until(Finished finished) {
  constexpr int kLook_ms = 100;
  RoomForOthers room;
  while (!finished()) {
    if (alarm_sounds(kLook_ms)) return stop_all(kCloseGoingAway);
    bool stops = parent_stops();
    if (!child->draining &&
        (stops || running_generation() != child->generation || getppid() != child->parent))
      drain_all(stops);
    if (room.is_needed()) return stop_all(leaving_code());
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
  if (child->is_parent) return true;
  sigset_t blocked;
  pthread_sigmask(SIG_BLOCK, nullptr, &blocked);
  return sigismember(&blocked, SIGTERM) || sigismember(&blocked, SIGHUP);
}

// Whether loops and workers end in time.
bool all_ended() {
  uint64_t deadline_ms = monotonic_ms() + kJoinTimeout_ms;
  finish_topics(kJoinTimeout_ms / 2);
  if (!child->engine.join(kJoinTimeout_ms)) {
    if (child->threaded) child->engine.tell_who_holds_up();  // not in a signal handler
    return false;
  }
  uint64_t now_ms = monotonic_ms();
  return finish_handlers(deadline_ms - std::min(deadline_ms, now_ms), child->threaded);
}

// Runs when the child has let go of all of its own connections.
apr_status_t end_child(void*) {
  if (child->watcher.joinable()) {
    child->threads_are_gone = true;
    child->watcher.join();
  }
  if (child->threaded ? !child->stopping : !told_to_stop_at_once()) {
    listen_for_alarm();
    if (!child->threaded) {  // what other MPMs have done
      ap_close_listeners();
      show_on_scoreboard();
    }
    watch_until(all_left);
  }
  stop_all(leaving_code());
  bool control_ended = end_control();
  if (!all_ended()) {
    if (child->threaded)
      server_log().write(LogLevel::error,
                         "WS601: a handler does not return; the child ends without it");
    _exit(0);
  }
  if (!control_ended) _exit(0);
  leave_topics(getpid());
  leave_admission_tables(getpid());
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
  mark_draining();
  loop.any_thread_drain(child->config.drain_code, drain_time_ms(parent_stops()));
}

void run_resident_on_prefork(Loop& loop) {
  int signals = signalfd(-1, &ending_signals(), SFD_CLOEXEC | SFD_NONBLOCK);
  if (signals >= 0) loop.when_readable(signals, [&] { heed_pending_signals(loop); });
  // A signal during the opening handshake has been handled by httpd.
  if (running_generation() != child->generation || parent_stops())
    loop.any_thread_drain(child->config.drain_code, 0);
  loop.run_while_connected();
  if (signals >= 0) close(signals);
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
  {
    std::lock_guard lock(child->lock);
    child->resident.push_back(&loop);
    if (child->stopping) loop.any_thread_stop(kCloseGoingAway, kStopGrace_ms);
    else if (child->draining) loop.any_thread_drain(child->config.drain_code, 0);
  }
  struct Listed {
    ~Listed() {
      std::lock_guard lock(child->lock);
      std::erase(child->resident, &loop);
    }
    Loop& loop;
  } listed{loop};
  if (child->threaded) loop.run_while_connected();
  else run_resident_on_prefork(loop);
  return loop.stopping();
}

void any_thread_post_to_loops(const std::function<void(Loop&)>& task) {
  child->engine.any_thread_post(task);
  std::lock_guard lock(child->lock);
  for (Loop* loop : child->resident) loop->any_thread_post([task, loop] { task(*loop); });
}

void start_child(apr_pool_t* pchild, server_rec*) {
  const ServerConfig& config = server_config();
  bool threaded = mpm_number(AP_MPMQ_IS_THREADED) != AP_MPMQ_NOT_SUPPORTED;
  int workers = mpm_number(threaded ? AP_MPMQ_MAX_THREADS : AP_MPMQ_MAX_DAEMONS);
  open_control();
  enter_children_table(config.max_websockets ? config.max_websockets : INT_MAX,
                       config.max_resident < 0 ? std::max(1, workers / 2) : config.max_resident,
                       !threaded);
  enter_admission_tables();
  if (!config.has_topics() && !config.shows_status) return;
  enter_counters();
  child = new Child(config);
  child->threaded = threaded;
  take_descriptor_limit();
  child->generation = mpm_number(AP_MPMQ_GENERATION);
  child->parent = getppid();
  child->pid_file = ap_runtime_dir_relative(pchild, ap_pid_fname);
  child->sees_pid_file = !access(child->pid_file, F_OK);
  child->is_parent = getpid() == parent_process();
  child->alarm = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  ending_signals();
  start_topics(child->engine);
  start_control();
  apr_pool_cleanup_register(pchild, nullptr, end_child, apr_pool_cleanup_null);
}

// Prefork goes on with end_child at once, which knows more.
void child_is_stopping(apr_pool_t*, int graceful) {
  mark_quiescing();
  if (!child || !child->threaded) return;
  if (!graceful) return stop_all(kCloseGoingAway);
  listen_for_alarm();
  if (running_generation() != child->generation) drain_all(false);
  // httpd now waits for its threads; resident connections hold some of them.
  SignalsBlocked blocked;
  try {
    child->watcher =
        std::thread([] { watch_until([] { return child->threads_are_gone.load(); }); });
  } catch (const std::system_error&) {
    stop_all(kCloseGoingAway);
  }
}

void child_status_changed(server_rec*, pid_t pid, ap_generation_t, int, mpm_child_status status) {
  if (status != MPM_CHILD_EXITED) return;
  leave_children_table(pid);
  leave_counters(pid);
  leave_admission_tables(pid);
  leave_topics(pid);
}

}  // namespace mws
