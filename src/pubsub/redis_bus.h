// The bus between servers: publications go through a Redis, from where every server with
// subscribers gets them, in Redis's order, and which keeps the history of each topic.
//
// While Redis is there:
// - Each publication becomes one step in Redis, which gives it its id, keeps it and sends it to
//   everybody, to this child too. Steps are sent without waiting for replies, in the order in which
//   the child's publications were made. A step that comes twice is done once.
// - A child hears of the topics that it has subscribers of. A fetch waits until it does, so that
//   what comes afterwards is all that is missing in the answer, but for what is in both, whose id
//   is not above the answer's last_id.
//
// While it is not, or does not answer, or takes too long:
// - Publications reach this server's subscribers at once, through the LocalBus, in the order in
//   which a child made them, and with provisional ids, which follow what the child last knew of.
//   Those that Redis has not confirmed are among them. Their outcome is local_only.
// - They wait in the child's outbox, as many as fit; what does not fit stays on this server, which
//   the log tells.
// - Nothing of the history is known but what was published here since then.
//
// When it is back:
// - The outbox is sent, in its order, and subscribers catch up: the listener is told that it may
//   have missed something of each topic.
// - What subscribers got with a provisional id is told, and fetched, with both ids, by which the
//   hub knows who had it.
//
// So a subscriber of a child gets each publication once as long as the history in Redis holds what
// it missed, and else is told of the gap. The limits of this:
// - Across an absence of Redis the order is each server's own: what others published meanwhile
//   comes late.
// - A client that comes back to another child or server, with an id from such a time, may get what
//   was published here at that time twice.
// - What waits in an outbox ends with its child.
// - When Redis comes back without its data, its history is gone: a gap, though perhaps nothing was
//   in between.
#pragma once
#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "src/base/log.h"
#include "src/base/log_limit.h"
#include "src/pubsub/by_topic.h"
#include "src/pubsub/local_bus.h"
#include "src/pubsub/redis_known.h"
#include "src/pubsub/redis_link.h"
#include "src/pubsub/redis_record.h"

namespace mws {

class RedisBus final : public Bus, private BusListener, private RedisLink::Owner, private Timer {
 public:
  // bus_loop gives the loop that all of it happens on; it is asked for with the first use.
  RedisBus(SharedTopics& topics, const RedisSettings& settings, std::function<Loop&()> bus_loop,
           LogSink& log);
  ~RedisBus();  // on the loop's thread, or when that has ended

  bool any_thread_listen(Loop& loop, BusListener& listener) override;
  Outcome any_thread_publish(const Publication& publication, Received received) override;
  bool any_thread_subscribe(std::string_view topic) override;
  void any_thread_unsubscribe(std::string_view topic) override;
  void any_thread_fetch(const FetchQuery& query, std::function<void(Fetched)> answer) override;
  void any_thread_state(std::string_view topic,
                        std::function<void(const SharedTopics::State&)> answer) override;
  void any_thread_clear(std::string_view topic, std::function<void(Outcome)> answer) override;
  // Takes no lock and no memory, so that a signal handler may call it.
  void finish(uint64_t within_ms) override;

 private:
  // What waits to be sent to Redis has an end also while it is there: beyond that it counts as too
  // slow, and as away.
  static constexpr size_t kMostWaiting = 64 << 20;   // bytes
  static constexpr size_t kMostUntaken = 128 << 20;  // bytes, that wait for the loop
  static constexpr size_t kMostInFlight = 4 << 20;   // bytes
  static constexpr uint64_t kShortestPause_ms = 50, kLongestPause_ms = 5000;
  static constexpr uint64_t kSteady_ms = 10'000;  // up for so long, the next pause is short again

  enum Mode { starting, up, away };
  struct Item;  // a publication on its way
  struct Fetch;
  using FetchPointer = std::shared_ptr<Fetch>;
  struct Topic {  // that this child has subscribers of
    uint64_t generation = 0;
    bool is_heard = false;              // Redis has said so
    std::vector<FetchPointer> waiting;  // for that
  };
  struct Awaited {  // a reply
    enum Kind { script, published, fetched, cleared, time, pong, subscribed } kind;
    FetchPointer fetch = nullptr;
    std::function<void(Outcome)> clear = nullptr;
    std::string name = {};  // the topic, or the script
    uint64_t number = 0;    // the topic's generation, or the time to which a pong belongs
  };

  // From the LocalBus.
  void on_publication(const Publication& publication) override;
  void on_batch_end() override { listener_.load()->on_batch_end(); }
  void on_missed(std::string_view topic) override { listener_.load()->on_missed(topic); }
  // From the connections.
  void on_up(RedisLink& link) override;
  void on_down(RedisLink& link, const std::string& reason) override;
  void on_reply(RedisLink& link, const redisReply& reply) override;
  void on_probe(RedisLink& link) override;
  void on_read_end(RedisLink& link) override;
  void on_due() override;  // connects again

  Loop& loop();
  // Runs it on the loop, as soon as it is known whether Redis is there.
  void post_when_known(std::function<void()> work);
  void run_held();
  void begin();
  void go_up_if_ready();
  void go_away(const std::string& reason);
  void connect_later();
  void log(LogLevel level, const char* code, const std::string& line);

  void loop_publish(std::unique_ptr<Item> item);
  void fail_awaited();
  void end_batch();
  void send_items();
  void send(Item& item);
  void load_script(std::string_view script, std::string_view name);
  void take_script(const Awaited& awaited, const redisReply& reply);
  void take_time(const redisReply& reply);
  void ping(uint64_t number);
  void take_published(const redisReply& reply);
  void take_refused(const redisReply& reply);
  std::unique_ptr<Item> take_first_item();
  void refuse_next_of(const std::string& topic);
  // With an id from `lowest` on. Any thread.
  void deliver_here(Item& item, uint64_t lowest);
  void keep_for_later(std::unique_ptr<Item> item);
  void take_back_items();
  void answer(Item& item, const Receipt& receipt);
  void release(const Item& item);
  uint64_t subscribers_here(std::string_view topic);

  void loop_want(const std::string& topic);
  void loop_unwant(const std::string& topic);
  void subscribe(const std::string& topic, uint64_t generation);
  void take_pushed(const redisReply& reply);
  void take_message(std::string_view channel, std::string_view message);

  void loop_fetch(FetchPointer fetch);
  void send_fetch(FetchPointer fetch);
  void send_page(FetchPointer fetch);
  void take_fetched(const FetchPointer& fetch, const redisReply& reply);
  Fetched read_fetched(Fetch& fetch, const redisReply& reply);
  void fetch_here(Fetch& fetch);
  void state_here(Fetch& fetch);

  LocalBus local_;
  const uint64_t process_;
  const RedisSettings settings_;
  const HistoryLimits history_;
  const RedisNames names_;
  const std::function<Loop&()> bus_loop_;
  LogSink& log_;
  LogLimit line_limit_{4, 60'000}, dropped_limit_{1, 10'000};
  std::once_flag begun_;
  Loop* loop_ = nullptr;  // from then on
  std::atomic<BusListener*> listener_ = nullptr;

  std::atomic<bool> is_away_ = false;
  std::atomic<size_t> pending_ = 0, pending_bytes_ = 0;  // publications that Redis has not got
  std::mutex lock_;
  ByTopic<size_t> subscriptions_;  // under lock_

  // The loop's.
  Mode mode_ = starting;
  bool commands_ready_ = false, channels_ready_ = false;
  std::unique_ptr<RedisLink> commands_, channels_;
  std::string publish_sha_, fetch_sha_;   // how Redis calls the scripts
  std::deque<Awaited> awaited_, pushes_;  // of commands_ and channels_
  std::deque<std::unique_ptr<Item>> items_;
  size_t sent_ = 0;              // of them, the first so many
  ByTopic<uint64_t> last_sent_;  // of what was sent, the last number to each topic
  size_t items_bytes_ = 0, in_flight_bytes_ = 0;
  uint64_t dropped_ = 0;
  ByTopic<Topic> topics_;
  std::vector<std::function<void()>> held_;  // until it is known whether Redis is there
  uint64_t generations_ = 0;
  NumbersSoFar seen_;  // has come from Redis
  ToldHere told_;
  uint64_t highest_id_ = 0;  // that this child knows of
  // All up to this has been told, of what it has subscribers of: the time in Redis at the last
  // probe.
  uint64_t complete_id_ = 0;
  uint64_t first_provisional_ = 0;  // of this absence
  uint64_t up_ms_ = 0;
  unsigned failures_ = 0;
  bool some_told_ = false;
  std::minstd_rand random_;
};

}  // namespace mws
