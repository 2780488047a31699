// A connection to Redis: connects, gives the password, chooses the database, and then carries
// commands and replies. It never waits: what is to be sent is sent when the loop is done with what
// it does, and many commands in one write. A Redis that cannot be reached, or that says nothing for
// some time though it was asked, is noticed here; to connect anew is up to the owner.
//
// All on the loop's thread, which ends after the link, or never runs its owner's code again.
#pragma once
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/engine/loop.h"
#include "src/pubsub/redis_url.h"

struct redisReply;
struct redisReader;

namespace mws {

class RedisLink final : private Source, private Timer {
 public:
  static constexpr uint64_t kConnectTimeout_ms = 3000;  // to the answer to the greeting
  static constexpr uint64_t kProbeInterval_ms = 1000;
  static constexpr uint64_t kSilence_ms = 3000;  // after a probe
  static constexpr size_t kMaxReply = 1 << 30;   // bytes

  class Owner {
   public:
    virtual void on_up(RedisLink& link) = 0;
    // The connection is gone, or was not made. Not inside of connect or drop. Connects again only
    // later, from elsewhere.
    virtual void on_down(RedisLink& link, const std::string& reason) = 0;
    // The next reply, or what was published. It may drop the link.
    virtual void on_reply(RedisLink& link, const redisReply& reply) = 0;
    // It is time to send something that is answered.
    virtual void on_probe(RedisLink& link) = 0;
    // All that has arrived was told.
    virtual void on_read_end(RedisLink& link) = 0;

   protected:
    ~Owner() = default;
  };

  // Throws std::bad_alloc.
  RedisLink(Loop& loop, const RedisAddress& address, Owner& owner);
  ~RedisLink();
  RedisLink(const RedisLink&) = delete;
  RedisLink& operator=(const RedisLink&) = delete;

  // on_up or on_down follows.
  void connect();
  // Without a word to the owner. Commands that were not sent are not.
  void drop();
  bool is_up() const { return state_ == up; }
  // Only while it is up.
  void send(std::span<const std::string_view> words);
  size_t unsent_bytes() const { return out_.size() - out_sent_; }

 private:
  enum State { idle, resolving, connecting, greeting, up };
  struct Resolved;

  void on_ready(uint32_t events) noexcept override;
  void on_due() override;
  void resolve();
  void begin_connect();
  void begin_greeting();
  void greet(const redisReply& reply);
  void append(std::span<const std::string_view> words);
  void flush();
  void flush_soon();
  void read();
  bool take_replies();
  void fail(const std::string& reason);

  Loop& loop_;
  const RedisAddress address_;
  Owner& owner_;
  State state_ = idle;
  int descriptor_ = -1;
  redisReader* reader_ = nullptr;
  std::string out_;
  size_t out_sent_ = 0;
  unsigned greetings_ = 0;  // whose replies are yet to come
  bool flush_posted_ = false, blocked_ = false;
  uint64_t connection_ = 0;                // the number of this one
  uint64_t heard_ms_ = 0, probed_ms_ = 0;  // probed_ms_: 0 if it has been answered
  std::shared_ptr<Resolved> resolved_;
  const std::shared_ptr<RedisLink*> self_;  // for what is posted; null when it is gone
  std::vector<char> received_;
};

}  // namespace mws
