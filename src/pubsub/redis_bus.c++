// How the bus begins and ends, and whether Redis is there.
#ifdef WEBSOCKET_HIREDIS
#include "src/pubsub/redis_bus.h"

#include <time.h>

#include <algorithm>

#include "src/base/clock.h"
#include "src/pubsub/redis_bus_parts.h"
#include "src/pubsub/redis_scripts.h"

namespace mws {

RedisBus::RedisBus(SharedTopics& topics, const RedisSettings& settings,
                   std::function<Loop&()> bus_loop, LogSink& log)
    : local_(topics, &log),
      process_(local_.next_origin().process),
      settings_(settings),
      history_(topics.history()),
      names_{settings.address.prefix, settings.address.database},
      bus_loop_(std::move(bus_loop)),
      log_(log),
      random_(std::minstd_rand::result_type(process_)) {}

RedisBus::~RedisBus() {
  if (!loop_) return;
  loop_->cancel_timer(*this);
  loop_->release_timers(1);
}

Loop& RedisBus::loop() {
  std::call_once(begun_, [this] {
    Loop& own = bus_loop_();
    loop_ = &own;
    own.any_thread_post([this] { begin(); });
  });
  return *loop_;
}

void RedisBus::begin() {
  loop_->reserve_timers(1);
  RedisLink::Owner& owner = *this;
  commands_ = std::make_unique<RedisLink>(*loop_, settings_.address, owner);
  channels_ = std::make_unique<RedisLink>(*loop_, settings_.address, owner);
  on_due();
}

bool RedisBus::any_thread_listen(Loop&, BusListener& listener) {
  listener_ = &listener;
  return local_.any_thread_listen(loop(), *this);
}

void RedisBus::post_when_known(std::function<void()> work) {
  loop().any_thread_post([this, work = std::move(work)]() mutable {
    if (mode_ == starting) held_.push_back(std::move(work));
    else work();
  });
}

void RedisBus::run_held() {
  for (auto& work : std::exchange(held_, {})) work();
}

void RedisBus::finish(uint64_t within_ms) {
  for (uint64_t end_ms = monotonic_ms() + within_ms;
       pending_ && !is_away_ && monotonic_ms() < end_ms;) {
    timespec moment{.tv_sec = 0, .tv_nsec = 2'000'000};
    nanosleep(&moment, nullptr);
  }
}

void RedisBus::log(LogLevel level, const char* code, const std::string& line) {
  std::string left_out;
  if (line_limit_.allows(left_out))
    log_.write(level, std::string(code) + ": WebSocketBus redis: " + line + left_out);
}

// --- Connections ---

void RedisBus::on_due() {
  if (mode_ == up) return;
  awaited_.clear();
  pushes_.clear();
  commands_ready_ = channels_ready_ = false;
  commands_->connect();
  channels_->connect();
}

void RedisBus::connect_later() {
  uint64_t pause_ms = std::min(kLongestPause_ms, kShortestPause_ms << std::min(failures_++, 10u));
  pause_ms =
      std::uniform_int_distribution<uint64_t>(pause_ms / 2, pause_ms + pause_ms / 2)(random_);
  loop_->set_timer(*this, pause_ms);
}

void RedisBus::on_up(RedisLink& link) {
  if (&link == commands_.get()) {
    load_script(kPublishScript, "publish");
    load_script(kFetchScript, "fetch");
    on_probe(link);
  } else {
    channels_ready_ = true;
    go_up_if_ready();
  }
}

void RedisBus::load_script(std::string_view script, std::string_view name) {
  awaited_.push_back({.kind = Awaited::script, .name = std::string(name)});
  std::string_view words[] = {"SCRIPT", "LOAD", script};
  commands_->send(words);
}

void RedisBus::take_script(const Awaited& awaited, const redisReply& reply) {
  if (reply.type != REDIS_REPLY_STRING)
    return go_away("it takes no scripts: " + std::string(text_of(reply)));
  (awaited.name == "publish" ? publish_sha_ : fetch_sha_) = text_of(reply);
}

void RedisBus::on_probe(RedisLink& link) {
  if (&link == channels_.get()) return ping(0);
  awaited_.push_back({.kind = Awaited::time});
  std::string_view time[] = {"TIME"};
  link.send(time);
}

void RedisBus::ping(uint64_t number) {
  pushes_.push_back({.kind = Awaited::pong, .number = number});
  std::string_view words[] = {"PING"};
  channels_->send(words);
}

void RedisBus::on_down(RedisLink&, const std::string& reason) { go_away(reason); }

void RedisBus::on_read_end(RedisLink&) { end_batch(); }

// There is a listener, as some was told.
void RedisBus::end_batch() {
  if (std::exchange(some_told_, false)) listener_.load()->on_batch_end();
}

void RedisBus::on_reply(RedisLink& link, const redisReply& reply) {
  if (&link == channels_.get()) return take_pushed(reply);
  if (awaited_.empty())
    return go_away("it answers what it was not asked: " + std::string(text_of(reply)));
  Awaited awaited = std::move(awaited_.front());
  awaited_.pop_front();
  switch (awaited.kind) {
    case Awaited::script: return take_script(awaited, reply);
    case Awaited::published: return take_published(reply);
    case Awaited::fetched: return take_fetched(awaited.fetch, reply);
    case Awaited::cleared:
      return awaited.clear(reply.type == REDIS_REPLY_INTEGER ? Outcome::published
                                                             : Outcome::local_only);
    case Awaited::time: return take_time(reply);
    default: return;
  }
}

void RedisBus::take_time(const redisReply& reply) {
  if (reply.type != REDIS_REPLY_ARRAY || reply.elements != 2 ||
      reply.element[0]->type != REDIS_REPLY_STRING || reply.element[1]->type != REDIS_REPLY_STRING)
    return go_away("it does not tell the time: " + std::string(text_of(reply)));
  uint64_t time_us = strtoull(reply.element[0]->str, nullptr, 10) * 1'000'000 +
                     strtoull(reply.element[1]->str, nullptr, 10);
  commands_ready_ = true;
  go_up_if_ready();
  // What was published before that arrives on the other connection before the answer to this.
  if (mode_ == up) ping(std::min(time_us, kMaxId));
}

// --- Coming and going ---

void RedisBus::go_up_if_ready() {
  if (mode_ == up || !commands_ready_ || !channels_ready_) return;
  bool was_away = mode_ == away;
  mode_ = up;
  is_away_ = false;
  up_ms_ = monotonic_ms();
  size_t waiting = items_.size();
  for (auto& [name, topic] : topics_) subscribe(name, topic.generation);
  send_items();
  if (was_away) {
    log(LogLevel::notice, "WS512",
        settings_.address.name() + " is back; " + std::to_string(waiting) +
            " publications that waited are sent");
    if (BusListener* listener = listener_) listener->on_missed("");
  }
  run_held();
}

void RedisBus::go_away(const std::string& reason) {
  commands_->drop();
  channels_->drop();
  if (mode_ == up && monotonic_ms() - up_ms_ > kSteady_ms) failures_ = 0;
  connect_later();
  end_batch();  // what failed behind it will not end it
  if (mode_ == away) return;
  mode_ = away;
  is_away_ = true;
  log(LogLevel::error, "WS511",
      settings_.address.name() + ": " + reason +
          "; until it is back, publications reach this server alone");
  first_provisional_ = std::max(highest_id_, complete_id_) + 1;
  if (first_provisional_ == 1) first_provisional_ = now_us();
  for (auto& [name, topic] : topics_) {
    topic.is_heard = false;
    for (auto& fetch : std::exchange(topic.waiting, {})) fetch_here(*fetch);
  }
  take_back_items();
  fail_awaited();
  run_held();
}

void RedisBus::fail_awaited() {
  pushes_.clear();
  for (Awaited& awaited : std::exchange(awaited_, {})) {
    if (awaited.fetch) fetch_here(*awaited.fetch);
    if (awaited.clear) awaited.clear(Outcome::local_only);
  }
}

}  // namespace mws
#endif
