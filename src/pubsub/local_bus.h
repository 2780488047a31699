// The bus of one server: its children hear each other through SharedTopics.
#pragma once
#include <atomic>
#include <memory>

#include "src/base/log.h"
#include "src/base/log_limit.h"
#include "src/pubsub/bus.h"

namespace mws {

class LocalBus final : public Bus, private Source {
 public:
  // log: where to say how much a child has missed of the ring, or nullptr.
  explicit LocalBus(SharedTopics& topics, LogSink* log = nullptr);

  bool any_thread_listen(Loop& loop, BusListener& listener) override;
  Outcome any_thread_publish(const Publication& publication, Received received) override;
  bool any_thread_subscribe(std::string_view topic) override;
  void any_thread_unsubscribe(std::string_view topic) override;
  void any_thread_fetch(const FetchQuery& query, std::function<void(Fetched)> answer) override;
  void any_thread_state(std::string_view topic,
                        std::function<void(const SharedTopics::State&)> answer) override;
  void any_thread_clear(std::string_view topic, std::function<void(Outcome)> answer) override;
  void finish(uint64_t) override {}

  // For a bus to other servers, which says what a publication's origin is, and above which id the
  // topic goes on.
  Receipt publish(const Publication& publication, uint64_t lowest_id);
  PublicationOrigin next_origin() { return {process_, ++published_}; }
  size_t max_payload() const { return topics_.max_payload(); }

 private:
  void on_ready(uint32_t events) noexcept override;
  void tell_missed(uint64_t count);

  SharedTopics& topics_;
  LogSink* const log_;
  LogLimit missed_limit_{1, 10'000};
  const uint64_t process_;  // random
  std::atomic<uint64_t> published_ = 0;
  BusListener* listener_ = nullptr;
  Loop* loop_ = nullptr;
  std::unique_ptr<SharedTopics::Reader> reader_;  // the loop's
  bool posted_ = false;                           // likewise: it goes on reading soon
};

}  // namespace mws
