// A handler configured for a location: calls its callbacks, lets no exception through, and is the
// endpoint of its connections. Callbacks run on the loop, or on workers of the handler's own.
#pragma once
#include <map>
#include <memory>
#include <string>

#include "src/base/log_limit.h"
#include "src/engine/connection.h"
#include "src/handler/library.h"
#include "src/handler/request.h"
#include "src/handler/workers.h"

struct ws_config {
  std::map<std::string, std::string> params;
};

namespace mws {

constexpr unsigned kDefaultWorkers = 16;
constexpr size_t kDefaultMaxSubscriptions = 1000;

class Handler final : public Endpoint {
 public:
  struct Settings {
    std::map<std::string, std::string> params = {};
    std::string location = {};  // for the log
    int workers = -1;  // threads; 0: none, callbacks run on the loop; -1: as the handler wants
    bool may_detach = false;  // a plugin of apache-websocket needs no thread of its own
    size_t max_subscriptions = kDefaultMaxSubscriptions;  // of a connection
  };
  static Result<std::unique_ptr<Handler>> configure(std::shared_ptr<Library> library,
                                                    Settings settings);
  ~Handler();  // calls shutdown

  // 0, with the facts set that the handler chose, or the HTTP status to reject with. Several
  // threads at a time; may block.
  int handshake(HandshakeRequest& request) noexcept;
  // For the connection that comes of it. Throws std::system_error where there is no room for a
  // thread that it needs.
  Ref<Attachment> attach(const HandshakeRequest& request);
  // A connection has to stay on the thread that brought it, where callbacks may block and use
  // httpd's request.
  bool needs_thread() const { return needs_thread_; }
  const Plugin* plugin() const { return library_->plugin(); }
  // Messages come in pieces.
  bool streams() const { return table_.fragment; }
  // At the end of the process, when all connections are gone: waits for callbacks that still run.
  // False, and logged if it may be, if that takes longer.
  bool finish(uint64_t within_ms, bool may_log = true);

  void on_open(Connection& connection) noexcept override;
  bool acts_on_open() const noexcept override { return table_.open || library_->plugin(); }
  void on_message(Connection& connection, Opcode type, Bytes payload) noexcept override;
  void on_piece(Connection& connection, Opcode type, Bytes piece, bool first,
                bool last) noexcept override;
  void on_ping(Connection& connection, Bytes payload) noexcept override;
  void on_pong(Connection& connection, Bytes payload) noexcept override;
  void on_drained(Connection& connection) noexcept override;
  void on_timer(Connection& connection, uint32_t id) noexcept override;
  void on_slow(uint64_t ms, bool still) noexcept override;                   // logs it
  void on_rule_broken(Connection& connection, Rule rule) noexcept override;  // logs it
  void on_close(Connection& connection, uint16_t code, std::string_view reason,
                bool clean) noexcept override;

  size_t max_subscriptions() const { return max_subscriptions_; }
  // On the connection's loop, outside of its callbacks.
  void tell_subscribed(Connection& connection, std::string_view topic, ws_result result,
                       uint64_t id) noexcept;
  void tell_gap(Connection& connection, std::string_view topic) noexcept;

  // Runs what a handler has posted, as a callback of the connection, on the thread for those.
  void run_posted(ws_connection& peer, bool on_loop,
                  const std::function<void(ws_connection&)>& posted) noexcept;

  // A handler's mistake that a function of the host found. Any thread.
  void log_mistake(const char* function, const char* what) const noexcept;

 private:
  Handler(std::shared_ptr<Library> library, Settings settings);
  template <class Line>
  void log(LogLevel level, const char* code, Line line) const noexcept;
  template <class Line>
  void log(LogLevel level, const char* code, Line line, const ws_connection* about) const noexcept;
  void log_left(const char* callback, const char* why) const noexcept;
  void give_strand(ws_connection& peer, Connection& connection);
  template <class Call>
  bool guarded(const char* callback, Call call) noexcept;
  template <class Call>
  void call(const char* callback, ws_connection& peer, bool on_loop, Call call) noexcept;
  template <class Call>
  bool dispatch(const char* callback, Connection& connection, Strand::Kind kind, Bytes payload,
                Call call) noexcept;

  std::shared_ptr<Library> library_;
  const ws_handler& table_;
  ws_config config_;
  const std::string location_;
  const bool needs_thread_;
  const size_t max_subscriptions_;
  void* state_ = nullptr;
  bool configured_ = false;
  std::unique_ptr<Workers> workers_;
  LogLimit slow_limit_{1, 10'000}, rule_limit_{1000, 10'000};
};

}  // namespace mws
