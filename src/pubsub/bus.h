// The way of publications from who publishes to the children that have subscribers. One in each
// child, for its hub.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "src/engine/loop.h"
#include "src/pubsub/publication.h"
#include "src/pubsub/shared_topics.h"

namespace mws {

// What the bus tells its hub, on the bus's loop.
class BusListener {
 public:
  // A publication to a topic that has subscribers in this child, or had; the views live until the
  // call returns. What is told here is in each topic's order, and each publication once. Ids need
  // not grow: after a time in which servers did not hear of each other they may lie in between.
  virtual void on_publication(const Publication& publication) = 0;
  // Some publications have been told, and no more is there at this moment.
  virtual void on_batch_end() = 0;
  // Publications to this topic, or to any topic where it is empty, may have passed by, behind those
  // told before: whoever has subscribed catches up by any_thread_fetch.
  virtual void on_missed(std::string_view topic) = 0;

 protected:
  ~BusListener() = default;
};

class Bus {
 public:
  enum class Outcome {
    published,
    local_only,  // it reached this server's subscribers; others hear of it later, or not at all
    too_big,     // nothing was published
  };
  struct Receipt {
    Outcome outcome = Outcome::published;
    uint64_t id = 0;           // 0 where nothing was published
    uint64_t subscribers = 0;  // that it went to, on this server
  };
  using Received = std::function<void(const Receipt&)>;

  virtual ~Bus() = default;

  // Begins to tell the listener, on that loop, what is published from now on. Once, before the
  // first subscriber. False if there is no room for another child. Throws std::bad_alloc.
  virtual bool any_thread_listen(Loop& loop, BusListener& listener) = 0;

  // The rest may be called by any thread. They do not wait, and may throw std::bad_alloc, and then
  // nothing was done. Answers come once: inside of the call, or later on the bus's loop.

  // Gives it an id; id and origin of what is given do not count. received: may be empty. What is
  // known at once is returned.
  virtual Outcome any_thread_publish(const Publication& publication, Received received) = 0;
  // One subscriber more, or less. False if there is no room for another topic, or subscriber.
  virtual bool any_thread_subscribe(std::string_view topic) = 0;
  virtual void any_thread_unsubscribe(std::string_view topic) = 0;
  // The query's topic is copied where it is needed for longer.
  virtual void any_thread_fetch(const FetchQuery& query, std::function<void(Fetched)> answer) = 0;
  virtual void any_thread_state(std::string_view topic,
                                std::function<void(const SharedTopics::State&)> answer) = 0;
  virtual void any_thread_clear(std::string_view topic, std::function<void(Outcome)> answer) = 0;

  // At the end of the child, from a thread that is not the bus's loop: waits until what was
  // published has left this process, as far as that goes in the time. Takes no lock and no memory:
  // on prefork a signal handler may call it.
  virtual void finish(uint64_t within_ms) = 0;
};

}  // namespace mws
