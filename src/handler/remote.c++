#include "src/handler/remote.h"

#include <array>
#include <string>
#include <unordered_map>
#include <utility>

#include "src/engine/loop.h"
#include "src/handler/handler.h"
#include "src/handler/peer.h"

namespace mws {

namespace {

// The connections of this process that have a handle. In parts, so that threads rarely meet.
struct Register {
  struct Part {
    std::mutex lock;
    std::unordered_map<uint64_t, std::shared_ptr<Remote>> remotes;
  };
  Part& of(uint64_t id) { return parts[id % parts.size()]; }
  std::array<Part, 16> parts;
  std::atomic<uint64_t> last_id = 0;
};

// Never destroyed: threads of handlers may outlive everything else.
Register& connections() {
  static Register& all = *new Register;
  return all;
}

}  // namespace

std::shared_ptr<Remote> Remote::make(ws_connection& peer, Connection& connection) {
  uint64_t id = ++connections().last_id;
  std::shared_ptr<Remote> remote(new Remote(peer, connection, id));
  connection.show(&remote->shown_);
  try {
    auto& part = connections().of(id);
    std::lock_guard hold(part.lock);
    part.remotes.emplace(id, remote);
  } catch (...) {
    connection.show(nullptr);
    throw;
  }
  return remote;
}

std::shared_ptr<Remote> Remote::find(uint64_t id) {
  auto& part = connections().of(id);
  std::lock_guard hold(part.lock);
  auto found = part.remotes.find(id);
  return found == part.remotes.end() ? nullptr : found->second;
}

void Remote::gone() {
  auto self = shared_from_this();
  shown_.open = false;
  {
    auto& part = connections().of(id_);
    std::lock_guard hold(part.lock);
    part.remotes.erase(id_);
  }
  std::vector<Errand> undone;  // destroyed outside of the lock: they may call handlers
  std::lock_guard hold(lock_);
  connection_ = nullptr;
  undone.swap(errands_);
  posted_bytes_ = shown_.backlog = 0;
}

bool Remote::post(Errand errand) {
  std::lock_guard hold(lock_);
  if (!connection_) return false;
  add(std::move(errand));
  return true;
}

void Remote::add(Errand errand) {
  bool first = errands_.empty();
  size_t bytes = errand.bytes;
  errands_.push_back(std::move(errand));
  try {
    if (first) connection_->loop().any_thread_post([self = shared_from_this()] { self->run(); });
  } catch (...) {
    errands_.pop_back();
    throw;
  }
  posted_bytes_ += bytes;
}

// On the loop's thread.
void Remote::run() {
  Connection* connection;
  {
    std::lock_guard hold(lock_);
    connection = connection_;
  }
  // What has been posted counts until it is counted as what waits.
  size_t done_bytes = 0;
  if (connection)
    connection->run([&] { done_bytes = do_errands(*connection); },
                    [&] { posted_bytes_ -= done_bytes; });
}

void Remote::loop_catch_up(Connection& connection) { posted_bytes_ -= do_errands(connection); }

size_t Remote::do_errands(Connection& connection) {
  std::vector<Errand> errands;
  {
    std::lock_guard hold(lock_);
    errands.swap(errands_);
  }
  size_t bytes = 0;
  for (Errand& errand : errands) {
    bytes += errand.bytes;
    errand.work(connection);
  }
  return bytes;
}

bool Remote::any_thread_post(Work work) { return post({std::move(work), 0}); }

SendResult Remote::any_thread_send(size_t bytes, Work work, bool fragment) {
  if (!shown_.open) return SendResult::closed;
  bytes += kErrandBytes;
  size_t before = buffered_amount();
  if (!before) return post({std::move(work), bytes}) ? SendResult::sent : SendResult::closed;
  auto then_tell = [work = std::move(work), fragment](Connection& connection) {
    work(connection);
    connection.owe_drained(fragment);
  };
  if (!post({std::move(then_tell), bytes})) return SendResult::closed;
  return before + bytes > shown_.high_water ? SendResult::high_water : SendResult::queued;
}

SendResult Remote::any_thread_send(std::shared_ptr<const PreparedMessage> message) {
  size_t bytes = message->payload().size();
  return any_thread_send(
      bytes, [message = std::move(message)](Connection& connection) { connection.send(message); });
}

bool Remote::any_thread_close(uint16_t code, std::string_view reason) {
  Work work = [code, reason = std::string(reason)](Connection& connection) {
    connection.close(code, reason);
  };
  std::lock_guard hold(lock_);
  if (!shown_.open || !connection_) return false;
  add({std::move(work), 0});
  shown_.open = false;
  return true;
}

bool Remote::any_thread_abort() {
  std::lock_guard hold(lock_);
  if (!connection_) return false;
  add({[](Connection& connection) { connection.abort(); }, 0});
  shown_.open = false;
  return true;
}

bool Remote::any_thread_call(std::function<void(ws_connection&)> call) {
  std::lock_guard hold(lock_);
  if (!connection_) return false;
  auto run = [held = Ref(&peer_), call = std::move(call)](bool on_loop) {
    held->handler.run_posted(*held, on_loop, call);
  };
  if (peer_.on_workers())
    peer_.on_workers()->strand->add(Strand::Kind::notice, 0,
                                    [run = std::move(run)] { run(false); });
  else add({[run = std::move(run)](Connection&) { run(true); }, 0});
  return true;
}

}  // namespace mws
