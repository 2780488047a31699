// The bus of one server: its children hear each other through SharedTopics.
#pragma once
#include <atomic>
#include <memory>

#include "src/pubsub/bus.h"

namespace mws {

class LocalBus final : public Bus, private Source {
 public:
  explicit LocalBus(SharedTopics& topics);

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

  SharedTopics& topics_;
  const uint64_t process_;  // random
  std::atomic<uint64_t> published_ = 0;
  BusListener* listener_ = nullptr;
  Loop* loop_ = nullptr;
  std::unique_ptr<SharedTopics::Reader> reader_;  // the loop's
};

}  // namespace mws
