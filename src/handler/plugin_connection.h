// A connection as a plugin of apache-websocket knows it, from the opening handshake on.
//
// What the plugin sends before the connection is open is kept, and sent then. After that it goes
// out in the order of the calls, whichever threads they come from. These plugins know no
// backpressure: while too much waits, a call waits too.
#pragma once
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "src/engine/connection.h"
#include "src/handler/companion.h"
#include "src/handler/plugin.h"
#include "src/handler/remote.h"
#include "src/handler/request.h"

namespace mws {

class Handler;

class PluginConnection final : public Companion {
 public:
  // Throws std::bad_alloc.
  PluginConnection(Handler& handler, HandshakeRequest& request);
  ~PluginConnection() override;  // calls on_disconnect if it is still due
  static PluginConnection* of(const PluginServer* server);

  // The plugin's callbacks, where exceptions of its own leave them.
  bool connect();  // false: it refuses
  void message(PluginType type, Bytes payload);
  void disconnect();

  // Its calls. Any thread; only what is said to be for the handshake belongs to on_connect.
  void* request() const { return request_; }
  const char* header(std::string_view name) const;
  const std::vector<std::string>& subprotocols() const { return subprotocols_; }
  void handshake_set_header(const char* name, const char* value);
  void handshake_set_subprotocol(std::string_view name);
  // False: nothing was sent. Throw std::bad_alloc.
  bool any_thread_send(int type, Bytes payload);
  bool any_thread_close(uint16_t code, std::string_view reason);

  void loop_open(ws_connection& peer, Connection& connection) override;
  void loop_drained() noexcept override;
  void loop_gone() noexcept override;

 private:
  static constexpr size_t kMost = Connection::kHighWater;  // bytes that may wait
  // While the connection's own thread, which makes the room, is in a callback: that may wait for
  // something that the thread in send holds.
  static constexpr size_t kMostWhileBusy = 8 * kMost;

  bool is_allowed(int type, Bytes payload);
  bool send_data(int type, Bytes payload);
  Connection* connection_here() const;
  size_t waiting_bytes() const { return remote_ ? remote_->buffered_amount() : early_bytes_; }
  bool has_room() const { return waiting_bytes() <= (busy_ ? kMostWhileBusy : kMost); }
  void set_busy(bool busy);
  bool mistake(const char* function, const char* what);

  Handler& handler_;
  const Plugin& plugin_;
  const PluginServer server_;
  std::vector<std::pair<std::string, std::string>> headers_;
  std::vector<std::string> subprotocols_;
  HandshakeRequest* handshake_;  // for the thread that is in on_connect
  std::atomic<void*> request_;
  void* own_ = nullptr;  // the plugin's
  bool disconnect_is_due_ = false;
  std::atomic<bool> told_of_mistake_ = false;

  std::mutex lock_;
  std::condition_variable room_;
  std::atomic<bool> ended_ = false;  // nothing is sent any more; set under lock_
  std::vector<Remote::Work> early_;  // from here on under lock_
  bool busy_ = false;
  size_t early_bytes_ = 0;
  std::shared_ptr<Remote> remote_;  // once the connection is open
  std::atomic<const ws_connection*> peer_ = nullptr;
};

}  // namespace mws
