// The thread of a child that answers who asks for its connections.
#include "src/httpd/control.h"

#ifdef WEBSOCKET_JSON
#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <ctime>
#include <mutex>
#include <system_error>
#include <thread>
#include <unordered_set>

#include "src/base/clock.h"
#include "src/base/connection_id.h"
#include "src/httpd/admin_order.h"
#include "src/httpd/children.h"
#include "src/httpd/config.h"
#include "src/httpd/control_io.h"
#include "src/httpd/control_socket.h"
#include "src/httpd/handler_site.h"
#include "src/httpd/lifecycle.h"
#include "src/httpd/log.h"

namespace mws {

namespace {

constexpr size_t kMaxQuestion = 256 * 1024;  // bytes
constexpr uint64_t kAskingTimeout_ms = 1000, kLoopsTimeout_ms = 1000, kSendTimeout_ms = 3000;

struct Row {
  uint64_t id;
  unsigned site;
  std::string address, user;
  bool has_user;
  Mooring mooring;
  uint64_t age_ms;
  Connection::Totals totals;
  size_t buffered;
};

// One question, and what the loops have said to it so far.
struct Round {
  explicit Round(const Order& asked)
      : order(asked), selection(order.filter), places(int64_t(order.limit)) {
    if (!done) throw std::bad_alloc();
  }
  bool means(const Connection& connection) const;

  const Order order;
  const Selection selection;
  const std::vector<SiteName> sites = site_names();
  const Descriptor done{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};  // readable when all have answered

  std::atomic<int64_t> places;  // for rows
  std::atomic<uint64_t> closed = 0;
  std::atomic<bool> over = false;    // whoever comes now is too late
  std::atomic<bool> failed = false;  // on one of them
  std::mutex lock;
  std::vector<Row> rows;  // under lock
  uint64_t total = 0;     // likewise
};

// The loops share one; with the last copy gone all have answered, or never will. One that waits in
// a loop that is held up keeps nothing of a round that is over.
struct Ticket {
  explicit Ticket(const std::shared_ptr<Round>& of) : round(of) {}
  ~Ticket() {
    if (auto waiting = round.lock()) eventfd_write(waiting->done.number(), 1);
  }
  Ticket(const Ticket&) = delete;
  Ticket& operator=(const Ticket&) = delete;
  const std::weak_ptr<Round> round;
};
using SharedTicket = std::shared_ptr<const Ticket>;

const ws_connection& peer_of(const Connection& connection) {
  return static_cast<const ws_connection&>(*connection.attachment());
}

bool Round::means(const Connection& connection) const {
  auto* site = dynamic_cast<const HandlerSite*>(&connection.site());
  if (!site || site->number >= sites.size()) return false;
  const ws_connection& peer = peer_of(connection);
  return !peer.ended && selection.matches(connection, peer, sites[site->number]);
}

// --- On a loop ---

Row row_of(const Connection& connection) {
  auto text = [](ws_text fact) { return std::string(fact.data ? fact.data : "", fact.size); };
  const ws_connection& peer = peer_of(connection);
  ws_text user = peer.facts.fact(WS_USER);
  return {.id = connection.id(),
          .site = connection.site().number,
          .address = text(peer.facts.fact(WS_REMOTE_ADDRESS)),
          .user = text(user),
          .has_user = user.data != nullptr,
          .mooring = connection.mooring(),
          .age_ms = connection.age_ms(),
          .totals = connection.totals(),
          .buffered = connection.buffered_amount()};
}

void list(Loop& loop, Round& round) {
  std::vector<Row> rows;
  uint64_t total = 0;
  loop.each_connection([&](const Connection& each) {
    if (!round.means(each)) return;
    total++;
    if (round.places-- > 0) rows.push_back(row_of(each));
  });
  std::lock_guard hold(round.lock);
  if (round.over) return;
  round.total += total;
  std::ranges::move(rows, std::back_inserter(round.rows));
}

using Ids = std::unordered_set<uint64_t>;

void answer_on(Loop& loop, const SharedTicket& ticket, const std::shared_ptr<Ids>& seen);

// Some at a time, so that others have their turn between them; `seen` are those of before. What is
// closed may end others: they are all found first, and stay until the end of the turn.
void close_some(Loop& loop, Round& round, const SharedTicket& ticket,
                const std::shared_ptr<Ids>& seen) {
  constexpr size_t kAtOnce = 500;
  std::vector<Connection*> batch;
  loop.each_connection([&](Connection& each) {
    if (batch.size() < kAtOnce && round.means(each) && !seen->contains(each.id()))
      batch.push_back(&each);
  });
  for (Connection* each : batch) {
    if (round.over) return;
    seen->insert(each->id());
    each->run(
        [&] { round.closed += each->close(round.order.code, round.order.reason, Cause::admin); });
  }
  if (batch.size() == kAtOnce)
    loop.any_thread_post([&loop, ticket, seen] { answer_on(loop, ticket, seen); });
}

void answer_on(Loop& loop, const SharedTicket& ticket, const std::shared_ptr<Ids>& seen) {
  auto round = ticket->round.lock();
  if (!round || round->over) return;
  try {
    if (round->order.closes)
      close_some(loop, *round, ticket, seen ? seen : std::make_shared<Ids>());
    else list(loop, *round);
  } catch (const std::bad_alloc&) {
    round->failed = true;
  }
}

// --- On the thread ---

std::string text_of(const Row& row, const SiteName& site) {
  enum { received = Counters::received, sent = Counters::sent };
  const Connection::Totals& totals = row.totals;
  nlohmann::ordered_json json = {
      {"id", id_text(row.id).data()},
      {"child", getpid()},
      {"server", site.server},
      {"location", site.location},
      {"address", row.address},
      {"user", nullptr},
      {"mooring", name_of(row.mooring)},
      {"opened", time(nullptr) - time_t(row.age_ms / 1000)},
      {"age_seconds", double(row.age_ms) / 1000},
      {"messages", {{"received", totals.messages[received]}, {"sent", totals.messages[sent]}}},
      {"bytes", {{"received", totals.bytes[received]}, {"sent", totals.bytes[sent]}}},
      {"buffered_bytes", row.buffered}};
  if (row.has_user) json["user"] = row.user;
  // A name may have bytes that are no UTF-8.
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

class ControlThread {
 public:
  // Throws std::system_error.
  ControlThread();
  void start();
  bool end();

 private:
  void serve();
  void answer(int socket);

  Descriptor listener_{socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  Descriptor end_{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};    // readable when it has to end
  Descriptor ended_{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};  // and when it has
  std::thread thread_;
};

// Never destroyed: see Child.
ControlThread* control;

ControlThread::ControlThread() {
  constexpr int kWaiting = 16;
  ControlAddress own(getpid());
  if (!listener_ || !end_ || !ended_ || bind(listener_.number(), own.address(), own.size) ||
      listen(listener_.number(), kWaiting))
    throw std::system_error(errno, std::generic_category());
}

void ControlThread::start() {
  SignalsBlocked blocked;
  thread_ = std::thread([this] {
    serve();
    eventfd_write(ended_.number(), 1);
  });
}

void ControlThread::serve() {
  const Patience endless{UINT64_MAX, end_.number()};
  while (endless.await(listener_.number(), POLLIN)) {
    Descriptor asker(accept4(listener_.number(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!asker) {  // no descriptor is left, it may be
      constexpr uint64_t kPause_ms = 100;
      Patience{monotonic_ms() + kPause_ms, end_.number()}.await(-1, 0);
      continue;
    }
    try {
      pid_t process = process_at(asker.number());
      auto children = children_now();
      bool is_child = std::ranges::find(children, process, &ChildView::pid) != children.end();
      if (process && is_child) answer(asker.number());
    } catch (const std::exception&) {
      // No memory is left. The asker is told by the end of the connection.
    } catch (const BadOrder&) {
    }
  }
}

// Who asks waits for no longer than it says; what it asked for must not be done after that.
bool has_given_up(int socket) {
  pollfd asker = {socket, 0, 0};
  return poll(&asker, 1, 0) > 0;
}

void ControlThread::answer(int socket) {
  auto question =
      receive_all(socket, kMaxQuestion, {monotonic_ms() + kAskingTimeout_ms, end_.number()});
  if (!question || has_given_up(socket)) return;
  auto round = std::make_shared<Round>(order_of(Json::parse(*question)));
  auto ticket = std::make_shared<const Ticket>(round);
  any_thread_post_to_loops([ticket](Loop& loop) { answer_on(loop, ticket, nullptr); });
  ticket.reset();
  bool all = Patience{monotonic_ms() + kLoopsTimeout_ms, end_.number()}.await(round->done.number(),
                                                                              POLLIN);
  std::vector<Row> rows;
  uint64_t total;
  {
    std::lock_guard hold(round->lock);
    round->over = true;
    rows.swap(round->rows);
    total = round->total;
  }
  Json head = {{"total", total},
               {"closed", round->closed.load()},
               {"incomplete", !all || round->failed.load()}};
  std::string text = head.dump();
  for (const Row& row : rows) text += "\n" + text_of(row, round->sites[row.site]);
  text += "\n";  // else it was cut off
  send_all(socket, text, {monotonic_ms() + kSendTimeout_ms, end_.number()});
}

// Takes no locks and no memory.
bool ControlThread::end() {
  constexpr uint64_t kEndTimeout_ms = 500;
  eventfd_write(end_.number(), 1);
  if (!thread_.joinable()) return true;
  if (!Patience{monotonic_ms() + kEndTimeout_ms}.await(ended_.number(), POLLIN)) return false;
  thread_.join();
  return true;
}

void warn(const std::exception& error) {
  server_log().write(LogLevel::warning,
                     std::string("WS702: connections of this child cannot be listed or closed "
                                 "through the status: ") +
                         error.what());
}

}  // namespace

void open_control() {
  if (!server_config().shows_status || !control_keys()) return;
  try {
    control = new ControlThread;
  } catch (const std::exception& error) {
    warn(error);
  }
}

void start_control() {
  if (!control) return;
  try {
    control->start();
  } catch (const std::exception& error) {
    warn(error);
  }
}

bool end_control() { return !control || control->end(); }

}  // namespace mws
#else
namespace mws {

void open_control() {}
void start_control() {}
bool end_control() { return true; }

}  // namespace mws
#endif
