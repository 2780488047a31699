// Publications, from this child to Redis and from Redis to this child.
#ifdef WEBSOCKET_HIREDIS
#include <algorithm>

#include "src/pubsub/redis_bus_parts.h"

namespace mws {

namespace {

std::string hex(uint64_t number) {
  char digits[17];
  snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(number));
  return digits;
}

// What another connection, or another moment, may cure.
bool may_pass(std::string_view error) {
  for (std::string_view each : {"LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "OOM",
                                "MISCONF", "NOSCRIPT", "TRYAGAIN", "NOAUTH", "NOREPLICAS", "BUSY"})
    if (error.starts_with(each)) return true;
  return false;
}

bool is_of_cluster(std::string_view error) {
  return error.starts_with("MOVED") || error.starts_with("ASK") || error.starts_with("CROSSSLOT");
}

}  // namespace

// --- To Redis ---

Bus::Outcome RedisBus::any_thread_publish(const Publication& publication, Received received) {
  if (publication.payload.size() > local_.max_payload()) {
    if (received) received({.outcome = Outcome::too_big});
    return Outcome::too_big;
  }
  auto item = std::make_unique<Item>(publication, std::move(received));
  size_t bytes = item->bytes();
  if (pending_bytes_ > kMostUntaken) {  // the loop has not come to it for long
    deliver_here(*item, now_us());
    return Outcome::local_only;
  }
  Loop& there = loop();
  pending_++;
  pending_bytes_ += bytes;
  try {
    there.any_thread_post([this, i = std::move(item)]() mutable { loop_publish(std::move(i)); });
  } catch (const std::bad_alloc&) {
    pending_--;
    pending_bytes_ -= bytes;
    throw;
  }
  return is_away_ ? Outcome::local_only : Outcome::published;
}

void RedisBus::release(const Item& item) {
  pending_--;
  pending_bytes_ -= item.bytes();
}

void RedisBus::answer(Item& item, const Receipt& receipt) {
  if (Received received = std::exchange(item.received, nullptr)) received(receipt);
}

uint64_t RedisBus::subscribers_here(std::string_view topic) {
  uint64_t subscribers = 0;
  local_.any_thread_state(
      topic, [&](const SharedTopics::State& state) { subscribers = state.subscribers; });
  return subscribers;
}

// Numbers are given here, so that they are in the order in which Redis gets them.
void RedisBus::loop_publish(std::unique_ptr<Item> item) {
  item->origin = local_.next_origin();
  if (mode_ == away) {
    deliver_here(*item, first_provisional_);
    return keep_for_later(std::move(item));
  }
  items_bytes_ += item->bytes();
  items_.push_back(std::move(item));
  if (items_bytes_ > kMostWaiting) return go_away("it takes longer than publications come");
  send_items();
}

void RedisBus::send_items() {
  while (mode_ == up && sent_ < items_.size() && in_flight_bytes_ < kMostInFlight) {
    Item& item = *items_[sent_++];
    in_flight_bytes_ += item.bytes();
    send(item);
  }
}

void RedisBus::send(Item& item) {
  uint64_t before = std::exchange(last_sent_[item.topic], item.origin.number);
  bool fits = item.payload.size() <= history_.bytes;
  std::string kept = !item.kept                 ? "0"
                     : !fits || !history_.count ? "-1"
                                                : std::to_string(history_.count);
  uint64_t keep_s = history_.age_us ? history_.age_us / 1'000'000 + 1 : kKeepFacts_s;
  std::string stream = names_.stream(item.topic), facts = names_.facts(item.topic),
              process = "p" + hex(item.origin.process), number = std::to_string(item.origin.number),
              lowest = std::to_string(std::max(highest_id_, item.provisional_id) + 1),
              keep_stream = std::to_string(keep_s),
              keep_facts = std::to_string(std::max(keep_s, kKeepFacts_s)),
              channel = names_.channel(item.topic),
              record = encode_redis_record(item.publication()), previous = std::to_string(before);
  std::string_view words[] = {"EVALSHA",  publish_sha_, "2",    stream,  facts,
                              process,    number,       lowest, kept,    keep_stream,
                              keep_facts, channel,      record, previous};
  awaited_.push_back({.kind = Awaited::published});
  commands_->send(words);
}

// Which was sent, and has its answer.
std::unique_ptr<RedisBus::Item> RedisBus::take_first_item() {
  std::unique_ptr<Item> item = std::move(items_.front());
  items_.pop_front();
  sent_--;
  items_bytes_ -= item->bytes();
  in_flight_bytes_ -= item->bytes();
  auto last = last_sent_.find(item->topic);
  if (last != last_sent_.end() && last->second == item->origin.number) last_sent_.erase(last);
  return item;
}

void RedisBus::take_published(const redisReply& reply) {
  if (reply.type == REDIS_REPLY_ERROR) return take_refused(reply);
  if (reply.type != REDIS_REPLY_INTEGER || items_.empty() || !sent_)
    return go_away("it does not answer as scripts do");
  std::unique_ptr<Item> item = take_first_item();
  uint64_t id = uint64_t(reply.integer);
  highest_id_ = std::max(highest_id_, std::min(id, kMaxId));
  release(*item);
  answer(*item, {Outcome::published, id, item->received ? subscribers_here(item->topic) : 0});
  send_items();
}

// One of which Redis says that it never will take it reaches this server alone.
void RedisBus::take_refused(const redisReply& reply) {
  std::string_view error = text_of(reply);
  bool is_refused = sent_ && (!may_pass(error) ||
                              (error.starts_with("TRYAGAIN") && items_.front()->follows_refused));
  if (!is_refused) return go_away("it takes no publications: " + std::string(error));
  log(LogLevel::error, "WS513",
      settings_.address.name() + " refuses a publication, which reaches this server alone: " +
          std::string(error.substr(0, 300)) +
          (is_of_cluster(error) ? " (of a cluster's nodes, only one that has all topics will do)"
                                : ""));
  refuse_next_of(items_.front()->topic);
  std::unique_ptr<Item> item = take_first_item();
  release(*item);
  item->origin = {};  // it will not come from Redis
  if (!item->provisional_id) deliver_here(*item, highest_id_ + 1);
  send_items();
}

// Redis does not take what follows in this topic, as that was to come behind it. It would refuse it
// again and again, so that is for good too.
void RedisBus::refuse_next_of(const std::string& topic) {
  auto last = last_sent_.find(topic);
  if (last == last_sent_.end() || last->second == items_.front()->origin.number) return;
  for (size_t i = 1; i < sent_; i++)
    if (items_[i]->topic == topic) {
      items_[i]->follows_refused = true;
      return;
    }
}

// --- While Redis is away ---

void RedisBus::deliver_here(Item& item, uint64_t lowest) {
  Receipt receipt = local_.publish(item.publication(), lowest);
  receipt.outcome = Outcome::local_only;
  item.provisional_id = receipt.id;
  answer(item, receipt);
}

void RedisBus::keep_for_later(std::unique_ptr<Item> item) {
  if (items_.size() < settings_.outbox_count &&
      items_bytes_ + item->bytes() <= settings_.outbox_bytes) {
    items_bytes_ += item->bytes();
    items_.push_back(std::move(item));
    return;
  }
  release(*item);
  dropped_++;
  std::string left_out;
  if (dropped_limit_.allows(left_out))
    log_.write(
        LogLevel::warning,
        "WS514: WebSocketBus redis: the outbox is full; publications that other servers will not "
        "get: " +
            std::to_string(dropped_));
}

// What Redis has not confirmed is delivered here, and waits. It may have been done all the same:
// then it is not done again.
void RedisBus::take_back_items() {
  sent_ = 0;
  last_sent_.clear();
  in_flight_bytes_ = 0;
  items_bytes_ = 0;
  for (auto& item : std::exchange(items_, {})) {
    if (item->seen_id) {
      release(*item);
      answer(*item, {Outcome::published, item->seen_id, subscribers_here(item->topic)});
      continue;
    }
    item->follows_refused = false;
    if (!item->provisional_id) deliver_here(*item, first_provisional_);
    keep_for_later(std::move(item));
  }
}

// --- From this server ---

void RedisBus::on_publication(const Publication& publication) {
  if (seen_.has(publication.origin)) return;
  Publication told = publication;
  told.provisional_id = told.id;
  if (told.origin.process) told_.note(told.origin, told.id);
  listener_.load()->on_publication(told);
}

// --- From Redis ---

void RedisBus::take_message(std::string_view channel, std::string_view message) {
  auto topic = names_.topic_of(channel);
  auto publication = decode_redis_message(message);
  if (!topic || !publication) {
    log(LogLevel::warning, "WS515", "what came through the channel of a topic is of somebody else");
    return;
  }
  highest_id_ = std::max(highest_id_, publication->id);
  seen_.note(publication->origin);
  if (publication->origin.process == process_) {
    auto own = std::lower_bound(
        items_.begin(), items_.begin() + ptrdiff_t(sent_), publication->origin.number,
        [](const auto& item, uint64_t number) { return item->origin.number < number; });
    if (own != items_.begin() + ptrdiff_t(sent_) &&
        (*own)->origin.number == publication->origin.number)
      (*own)->seen_id = publication->id;
  }
  BusListener* listener = listener_;
  if (!listener) return;
  publication->topic = *topic;
  publication->provisional_id = told_.id_of(publication->origin, publication->provisional_id);
  listener->on_publication(*publication);
  some_told_ = true;
}

}  // namespace mws
#endif
