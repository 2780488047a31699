// A connection as its handler knows it: what ws_connection points to.
#pragma once
#include <atomic>
#include <memory>

#include "src/base/thread.h"
#include "src/engine/connection.h"
#include "src/handler/companion.h"
#include "src/handler/remote.h"
#include "src/handler/request.h"
#include "src/handler/topics.h"
#include "src/handler/workers.h"
#include "src/protocol/close_code.h"
#include "src/protocol/utf8.h"

namespace mws {
class Handler;
}

// Touched by one thread at a time: the one that runs the connection's callbacks, but for
// `connection`, which is the loop's.
struct ws_connection final : mws::Attachment {
  ws_connection(mws::Handler& of, const mws::HandshakeRequest& request,
                const char* const* keep_headers)
      : handler(of), id(request.connection_id), facts(request, keep_headers) {
    if (request.companion) make_rare().companion = request.companion;
  }

  bool ended = false;  // on_close has come; the loop's
  mws::Handler& handler;
  const uint64_t id;  // 0: it has none
  mws::KeptFacts facts;
  void* user_data = nullptr;
  mws::Connection* connection = nullptr;  // from on_open to the return of on_close

  struct OnWorkers {
    std::shared_ptr<mws::Strand> strand;
    // What close tells, from on_close on.
    uint16_t close_code;
    bool close_clean;
    uint8_t close_reason_size;
    char close_reason[mws::kMaxCloseReason];
    // How often each timer was set or cancelled, as callbacks have asked for and as the loop has
    // done, so that none is called that was due before.
    uint32_t timer_turns_asked[WS_TIMERS];
    uint32_t timer_turns_done[WS_TIMERS];     // the loop's
    std::atomic<bool> drained_waits = false;  // is on its way; any thread
  };
  struct Fragments {
    ws_type type;
    mws::Utf8Validator utf8;
  };
  // What many connections do without: nullptr for those.
  mws::Companion* companion() const { return rare_ ? rare_->companion.get() : nullptr; }
  mws::Subscriptions* subscriptions() const { return rare_ ? rare_->subscriptions.get() : nullptr; }
  OnWorkers* on_workers() const { return rare_ ? rare_->on_workers.get() : nullptr; }
  Fragments* fragments() const { return rare_ ? rare_->fragments.get() : nullptr; }
  mws::Remote* remote() const { return rare_ ? rare_->remote.get() : nullptr; }

  struct Rare {
    std::shared_ptr<mws::Companion> companion;  // where the kind of handler has one
    std::shared_ptr<mws::Remote> remote;  // from the first handle on; with workers from on_open on
    std::unique_ptr<mws::Subscriptions> subscriptions;  // from the first one on; the loop's
    std::unique_ptr<OnWorkers> on_workers;  // from on_open on where callbacks run on workers
    std::unique_ptr<Fragments> fragments;   // while a message is sent in several
  };
  // To set one of them. Throws std::bad_alloc.
  Rare& make_rare() {
    if (!rare_) rare_ = std::make_unique<Rare>();
    return *rare_;
  }
  void drop_workers() {
    if (rare_) rare_->on_workers.reset();
  }
  void drop_subscriptions() {
    if (rare_) rare_->subscriptions.reset();
  }

 private:
  std::unique_ptr<Rare> rare_;
};

namespace mws {

// The callback that the calling thread is in.
struct CurrentCall {
  const ws_connection* peer = nullptr;
  bool on_loop = false;  // else on a worker
};
extern FAST_THREAD_LOCAL CurrentCall current_call;
// The handler whose code the calling thread is in, as far as the server called it; and the request
// whose handshake it is in.
extern FAST_THREAD_LOCAL const Handler* current_handler;
extern FAST_THREAD_LOCAL const HandshakeRequest* current_request;

}  // namespace mws
