// The way to an open connection from every thread: work for it is gathered here and done by its
// loop, in the order of its coming.
#pragma once
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

#include "src/engine/connection.h"

struct ws_connection;

namespace mws {

class Remote final : public std::enable_shared_from_this<Remote> {
 public:
  using Work = std::function<void(Connection&)>;
  // What is to be sent takes so much memory on its way, about, beside its bytes. It counts too:
  // many a short message would else fill the memory before the high water is seen.
  static constexpr size_t kErrandBytes = sizeof(Work) + sizeof(PreparedMessage);

  // On the loop's thread, from on_open on and before on_close. Throws std::bad_alloc.
  static std::shared_ptr<Remote> make(ws_connection& peer, Connection& connection);
  // The one with this id; nullptr if its connection is gone. Any thread.
  static std::shared_ptr<Remote> find(uint64_t id);
  uint64_t id() const { return id_; }

  // On the loop's thread, in on_close: what has not been done will not be.
  void gone();
  // On the loop's thread, inside of an event: does what has been posted so far.
  void loop_catch_up(Connection& connection);

  // The rest: any thread; may throw std::bad_alloc, and then nothing was done. False: the
  // connection is gone, or what was to be sent comes after its close.
  bool any_thread_post(Work work);
  SendResult any_thread_send(std::shared_ptr<const PreparedMessage> message);
  // Work that sends so many bytes, be it a fragment.
  SendResult any_thread_send(size_t bytes, Work work, bool fragment = false);
  bool any_thread_close(uint16_t code, std::string_view reason);
  bool any_thread_abort();
  bool may_send() const { return shown_.open; }
  void closing() { shown_.open = false; }  // a close frame goes out
  size_t buffered_amount() const { return posted_bytes_ + shown_.backlog; }
  // Has it run as a callback of the handler's.
  bool any_thread_call(std::function<void(ws_connection&)> call);

 private:
  struct Errand {
    Work work;
    size_t bytes;
  };
  Remote(ws_connection& peer, Connection& connection, uint64_t id)
      : peer_(peer), connection_(&connection), id_(id) {}
  bool post(Errand errand);
  void add(Errand errand);  // with lock_, while there is a connection
  void run();
  size_t do_errands(Connection& connection);  // the bytes that they were to send

  ws_connection& peer_;
  std::mutex lock_;
  Connection* connection_;       // under lock_; nullptr once it is gone
  std::vector<Errand> errands_;  // under lock_
  std::atomic<size_t> posted_bytes_ = 0;
  Connection::Shown shown_;
  const uint64_t id_;
};

}  // namespace mws
