// What this child subscribes to in Redis, and what it asks of the histories.
#ifdef WEBSOCKET_HIREDIS
#include <algorithm>

#include "src/pubsub/redis_bus_parts.h"
#include "src/pubsub/redis_scripts.h"

namespace mws {

namespace {

constexpr size_t kMostFetched = 512 << 20;  // bytes

std::optional<uint64_t> number_of(const redisReply& reply) {
  if (reply.type != REDIS_REPLY_INTEGER || reply.integer < 0 || uint64_t(reply.integer) > kMaxId)
    return std::nullopt;
  return uint64_t(reply.integer);
}

}  // namespace

// --- Subscriptions ---

bool RedisBus::any_thread_subscribe(std::string_view topic) {
  std::string name(topic);
  if (!local_.any_thread_subscribe(topic)) return false;
  try {
    Loop& there = loop();
    std::lock_guard hold(lock_);
    size_t& subscribers = subscriptions_[name];
    if (!subscribers) there.any_thread_post([this, name] { loop_want(name); });
    subscribers++;
  } catch (const std::bad_alloc&) {
    local_.any_thread_unsubscribe(topic);
    throw;
  }
  return true;
}

void RedisBus::any_thread_unsubscribe(std::string_view topic) {
  local_.any_thread_unsubscribe(topic);
  std::lock_guard hold(lock_);
  auto found = subscriptions_.find(topic);
  if (found == subscriptions_.end() || --found->second) return;
  try {
    loop().any_thread_post([this, name = found->first] { loop_unwant(name); });
  } catch (const std::bad_alloc&) {
    // Then the child goes on to hear of it.
  }
  subscriptions_.erase(found);
}

void RedisBus::loop_want(const std::string& name) {
  auto [at, is_new] = topics_.try_emplace(name);
  if (!is_new) return;
  at->second.generation = ++generations_;
  if (mode_ == up) subscribe(name, at->second.generation);
}

void RedisBus::loop_unwant(const std::string& name) {
  auto found = topics_.find(name);
  if (found == topics_.end()) return;
  Topic topic = std::move(found->second);
  topics_.erase(found);
  for (auto& fetch : topic.waiting) loop_fetch(fetch);
  if (mode_ != up) return;
  std::string channel = names_.channel(name);
  std::string_view words[] = {"UNSUBSCRIBE", channel};
  pushes_.push_back({.kind = Awaited::subscribed, .name = name});
  channels_->send(words);
}

void RedisBus::subscribe(const std::string& name, uint64_t generation) {
  std::string channel = names_.channel(name);
  std::string_view words[] = {"SUBSCRIBE", channel};
  pushes_.push_back({.kind = Awaited::subscribed, .name = name, .number = generation});
  channels_->send(words);
}

// Replies come in the order of the commands; between them, messages.
void RedisBus::take_pushed(const redisReply& reply) {
  if (reply.type == REDIS_REPLY_ERROR)
    return go_away("it does not let this server subscribe: " + std::string(text_of(reply)));
  if (reply.type == REDIS_REPLY_ARRAY && reply.elements == 3 &&
      text_of(*reply.element[0]) == "message")
    return take_message(text_of(*reply.element[1]), text_of(*reply.element[2]));
  if (pushes_.empty()) return go_away("it says what it was not asked");
  Awaited awaited = std::move(pushes_.front());
  pushes_.pop_front();
  if (awaited.kind == Awaited::pong) {
    complete_id_ = std::max(complete_id_, awaited.number);
    return;
  }
  auto found = topics_.find(awaited.name);
  if (found == topics_.end() || found->second.generation != awaited.number) return;
  found->second.is_heard = true;
  for (auto& fetch : std::exchange(found->second.waiting, {})) send_fetch(fetch);
}

// --- Fetching ---

void RedisBus::any_thread_fetch(const FetchQuery& query, std::function<void(Fetched)> answer) {
  auto fetch = std::make_shared<Fetch>(query);
  fetch->answers.push_back(std::move(answer));
  loop().any_thread_post([this, fetch] { loop_fetch(fetch); });
}

void RedisBus::any_thread_state(std::string_view topic,
                                std::function<void(const SharedTopics::State&)> answer) {
  auto fetch = std::make_shared<Fetch>(FetchQuery{.topic = topic});
  fetch->state = std::move(answer);
  loop().any_thread_post([this, fetch] { loop_fetch(fetch); });
}

void RedisBus::any_thread_clear(std::string_view topic, std::function<void(Outcome)> answer) {
  post_when_known([this, name = std::string(topic), answer = std::move(answer)] {
    local_.any_thread_clear(name, [](Outcome) {});
    if (mode_ != up) return answer(Outcome::local_only);
    std::string stream = names_.stream(name), facts = names_.facts(name);
    std::string_view words[] = {"EVAL", kClearScript, "2", stream, facts};
    awaited_.push_back({.kind = Awaited::cleared, .clear = answer});
    commands_->send(words);
  });
}

void RedisBus::loop_fetch(FetchPointer fetch) {
  if (mode_ == away) return fetch_here(*fetch);
  if (mode_ == starting) {
    held_.push_back([this, fetch] { loop_fetch(fetch); });
    return;
  }
  auto topic = topics_.find(fetch->topic);
  if (topic == topics_.end() || topic->second.is_heard || fetch->state) return send_fetch(fetch);
  auto& waiting = topic->second.waiting;
  auto same = std::find_if(waiting.begin(), waiting.end(),
                           [&](const auto& other) { return other->is_like(*fetch); });
  if (same == waiting.end()) return waiting.push_back(std::move(fetch));
  for (auto& answer : fetch->answers) (*same)->answers.push_back(std::move(answer));
}

void RedisBus::send_fetch(FetchPointer fetch) {
  FetchQuery& query = fetch->query;
  // An id from a time without Redis: all that came since that began may be missing, but for what
  // was told then.
  if (auto span = told_.span_of(query.since)) {
    query.provisional_since = std::max(query.provisional_since, query.since);
    query.since = span->first - 1;
  }
  send_page(std::move(fetch));
}

void RedisBus::send_page(FetchPointer fetch) {
  const FetchQuery& query = fetch->query;
  uint64_t keep_s = std::max<uint64_t>(kKeepFacts_s, history_.age_us / 1'000'000 + 1);
  std::string stream = names_.stream(fetch->topic), facts = names_.facts(fetch->topic),
              since = std::to_string(std::min(query.since, kMaxId)),
              last = std::to_string(query.last),
              most = std::to_string(std::min(query.max_bytes, kMostFetched)),
              count = std::to_string(history_.count), age = std::to_string(history_.age_us),
              keep = std::to_string(keep_s),
              keep_asked = std::to_string(fetch->state ? 0 : kKeepAsked_s);
  std::string_view words[] = {"EVALSHA", fetch_sha_, "2",   stream, facts, since,
                              last,      most,       count, age,    keep,  keep_asked};
  awaited_.push_back({.kind = Awaited::fetched, .fetch = std::move(fetch)});
  commands_->send(words);
}

void RedisBus::take_fetched(const FetchPointer& fetch, const redisReply& reply) {
  if (reply.type != REDIS_REPLY_ARRAY || reply.elements < 4) {
    go_away("it does not tell what was published: " + std::string(text_of(reply)));
    return fetch_here(*fetch);
  }
  auto at = [&](size_t i) -> const redisReply& { return *reply.element[i]; };
  uint64_t last = number_of(at(0)).value_or(0);
  highest_id_ = std::max(highest_id_, last);
  if (fetch->state)
    return fetch->state({subscribers_here(fetch->topic), number_of(at(2)).value_or(0), last});
  Fetched fetched = read_fetched(*fetch, reply);
  // Who asked goes on behind the last entry: where there is none, that is done here.
  if (fetched.entries.empty() && fetched.more) {
    fetch->gap = fetched.gap;
    uint64_t read =
        reply.elements < 6 ? 0 : number_of(at((reply.elements - 2) & ~size_t(1))).value_or(0);
    if (read > fetch->query.since) {
      fetch->query.since = read;
      return send_page(fetch);
    }
    fetched.more = false;
    fetched.gap = true;
  }
  for (auto& answer : fetch->answers) answer(fetched);
}

Fetched RedisBus::read_fetched(Fetch& fetch, const redisReply& reply) {
  auto at = [&](size_t i) -> const redisReply& { return *reply.element[i]; };
  uint64_t lost = number_of(at(1)).value_or(0);
  Fetched fetched;
  fetched.last_id = number_of(at(0)).value_or(0);
  fetched.last_provisional_id = fetch.query.provisional_since;
  fetched.gap = fetch.gap || (fetch.query.since && fetch.query.since < lost);
  fetched.more = number_of(at(3)).value_or(0);
  for (size_t i = 4; i + 1 < reply.elements; i += 2) {
    auto id = number_of(at(i));
    auto publication = decode_redis_record(text_of(at(i + 1)));
    if (!id || !publication) continue;  // somebody else's
    Bytes payload = publication->payload;
    fetched.entries.push_back({*id,
                               publication->origin,
                               publication->type,
                               publication->may_compress,
                               {payload.begin(), payload.end()},
                               told_.id_of(publication->origin, publication->provisional_id)});
    seen_.note(publication->origin);
  }
  return fetched;
}

// --- While Redis is away ---

void RedisBus::state_here(Fetch& fetch) { local_.any_thread_state(fetch.topic, fetch.state); }

// What was published here since then, with ids that say so. What has come from Redis before, and
// what comes later, is another matter: `since` stays as it is.
void RedisBus::fetch_here(Fetch& fetch) {
  if (fetch.state) return state_here(fetch);
  FetchQuery query = fetch.query;
  // A child that comes later takes all that it finds for that.
  uint64_t before = highest_id_ || complete_id_ ? first_provisional_ - 1 : 0;
  auto span = told_.span_of(first_provisional_);
  if (span) before = std::min(before, span->first - 1);
  uint64_t known = query.provisional_since;
  if (told_.span_of(query.since)) known = std::max(known, query.since);
  bool only_last = !query.since && !known;
  uint32_t wanted = only_last ? query.last : UINT32_MAX;
  query.since = std::max({before, known, uint64_t(1)});
  if (only_last) query.max_bytes = SIZE_MAX;  // what the history holds, at most
  uint64_t last_provisional = 0;
  local_.any_thread_state(fetch.topic, [&](const SharedTopics::State& state) {
    if (state.last_id > before) last_provisional = state.last_id;
  });
  local_.any_thread_fetch(query, [&](Fetched fetched) {
    auto& entries = fetched.entries;
    for (auto& entry : entries) {
      entry.provisional_id = entry.id;
      if (entry.origin.process) told_.note(entry.origin, entry.id);
    }
    if (entries.size() > wanted) entries.erase(entries.begin(), entries.end() - wanted);
    if (!known) fetched.gap = false;
    fetched.last_id = fetch.query.since ? 0 : first_provisional_ - 1;
    fetched.last_provisional_id = std::max(last_provisional, known);
    for (auto& answer : fetch.answers) answer(fetched);
  });
}

}  // namespace mws
#endif
