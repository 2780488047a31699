#include "src/pubsub/local_bus.h"

#include <sys/epoll.h>

#include <random>

namespace mws {

namespace {

uint64_t random_number() {
  std::random_device random;
  return uint64_t(random()) << 32 | random();
}

}  // namespace

LocalBus::LocalBus(SharedTopics& topics, LogSink* log)
    : topics_(topics), log_(log), process_(random_number()) {}

bool LocalBus::any_thread_listen(Loop& loop, BusListener& listener) {
  if (!topics_.enter()) return false;
  reader_ = std::make_unique<SharedTopics::Reader>(topics_);
  listener_ = &listener;
  loop_ = &loop;
  loop.any_thread_post([this] {
    loop_->watch(*this, reader_->descriptor(), EPOLLIN | EPOLLET);
    on_ready(EPOLLIN);
  });
  return true;
}

// The descriptor is never read: each write to it is an event of its own (EPOLLET).
void LocalBus::on_ready(uint32_t) noexcept {
  constexpr int kRounds = 4;  // then connections have their turn
  for (int round = 0; round < kRounds; round++) {
    try {
      bool some =
          reader_->read([this](uint64_t count) { tell_missed(count); },
                        [this](const Publication& each) { listener_->on_publication(each); });
      if (some) listener_->on_batch_end();
      else if (reader_->sleep()) return;
    } catch (const std::bad_alloc&) {
      // Whoever misses something now is told so as soon as there is memory for that.
      try {
        listener_->on_missed("");
      } catch (const std::bad_alloc&) {
      }
    }
  }
  if (posted_) return;
  try {
    loop_->any_thread_post([this] {
      posted_ = false;
      on_ready(EPOLLIN);
    });
    posted_ = true;
  } catch (const std::bad_alloc&) {
    // The next publication is read with what is left: the seat is awake, so wake it by hand.
    reader_->sleep();
  }
}

void LocalBus::tell_missed(uint64_t count) {
  std::string left_out;
  if (log_ && missed_limit_.allows(left_out))
    log_->write(LogLevel::info, "WS503: " + std::to_string(count) +
                                    " publications were overwritten before this child read them; "
                                    "its subscribers go on out of the histories" +
                                    left_out);
  listener_->on_missed("");
}

Bus::Receipt LocalBus::publish(const Publication& publication, uint64_t lowest_id) {
  auto [id, subscribers] = topics_.publish_from(publication, lowest_id);
  return {Outcome::published, id, subscribers};
}

Bus::Outcome LocalBus::any_thread_publish(const Publication& publication, Received received) {
  Receipt receipt{.outcome = Outcome::too_big};
  if (publication.payload.size() <= topics_.max_payload()) {
    Publication numbered = publication;
    numbered.origin = next_origin();
    auto [id, subscribers] = topics_.publish(numbered);
    receipt = {Outcome::published, id, subscribers};
  }
  if (received) received(receipt);
  return receipt.outcome;
}

bool LocalBus::any_thread_subscribe(std::string_view topic) { return topics_.subscribe(topic); }

void LocalBus::any_thread_unsubscribe(std::string_view topic) { topics_.unsubscribe(topic); }

void LocalBus::any_thread_fetch(const FetchQuery& query, std::function<void(Fetched)> answer) {
  answer(topics_.fetch(query));
}

void LocalBus::any_thread_state(std::string_view topic,
                                std::function<void(const SharedTopics::State&)> answer) {
  answer(topics_.state(topic));
}

void LocalBus::any_thread_clear(std::string_view topic, std::function<void(Outcome)> answer) {
  topics_.clear_history(topic);
  answer(Outcome::published);
}

}  // namespace mws
