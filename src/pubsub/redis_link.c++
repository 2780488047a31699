#ifdef WEBSOCKET_HIREDIS
#include "src/pubsub/redis_link.h"

#include <hiredis/hiredis.h>
#include <hiredis/read.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "src/base/clock.h"
#include "src/engine/engine.h"

namespace mws {

namespace {

using Words = std::span<const std::string_view>;

constexpr size_t kReceiveBytes = 64 * 1024;

std::string text_of_error(int error) { return std::generic_category().message(error); }

// An error without what it repeats of the command, in quotes as a rule: user and password.
std::string without_arguments(const std::string& error, const std::string& password) {
  std::string left = error.substr(0, error.find_first_of("'`\""));
  return left.find(password) == left.npos ? left : left.substr(0, left.find(' '));
}

struct Address {
  sockaddr_storage bytes{};
  socklen_t size = 0;
};

Address unix_address(const std::string& path) {
  Address address;
  auto& as = reinterpret_cast<sockaddr_un&>(address.bytes);
  as.sun_family = AF_UNIX;
  path.copy(as.sun_path, sizeof as.sun_path - 1);
  address.size = sizeof as;
  return address;
}

}  // namespace

// The addresses of the host, in the order of the system.
struct RedisLink::Resolved {
  std::vector<Address> addresses;
  std::string wrong;

  void ask(const std::string& host, const std::string& port, int flags) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = flags;
    addrinfo* found = nullptr;
    int error = getaddrinfo(host.c_str(), port.c_str(), &hints, &found);
    if (error) wrong = std::string("its name is not known: ") + gai_strerror(error);
    for (addrinfo* each = found; each; each = each->ai_next) {
      Address& address = addresses.emplace_back();
      memcpy(&address.bytes, each->ai_addr, each->ai_addrlen);
      address.size = each->ai_addrlen;
    }
    if (found) freeaddrinfo(found);
  }
};

RedisLink::RedisLink(Loop& loop, const RedisAddress& address, Owner& owner)
    : loop_(loop),
      address_(address),
      owner_(owner),
      self_(std::make_shared<RedisLink*>(this)),
      received_(kReceiveBytes) {
  loop_.reserve_timers(1);
}

RedisLink::~RedisLink() {
  *self_ = nullptr;
  drop();
  loop_.release_timers(1);
}

void RedisLink::connect() {
  drop();
  loop_.set_timer(*this, kConnectTimeout_ms);
  connection_++;
  resolve();
}

// --- Connecting ---

// A name is looked up by a thread of its own, as that may take long.
void RedisLink::resolve() {
  state_ = resolving;
  resolved_ = std::make_shared<Resolved>();
  auto done = [self = self_, of = resolved_] {
    if (*self && (*self)->resolved_ == of) (*self)->begin_connect();
  };
  std::string port = std::to_string(address_.port);
  if (address_.host.empty()) resolved_->addresses.push_back(unix_address(address_.path));
  else resolved_->ask(address_.host, port, AI_NUMERICHOST);
  if (!resolved_->addresses.empty()) return loop_.any_thread_post(done);
  auto ask = [&loop = loop_, done, into = resolved_, host = address_.host, port] {
    try {
      into->ask(host, port, 0);
      loop.any_thread_post(done);
    } catch (const std::bad_alloc&) {
      // Then the time to connect ends.
    }
  };
  try {
    SignalsBlocked blocked;
    std::thread(ask).detach();
  } catch (const std::system_error&) {
    resolved_->wrong = "no thread to look up its name";
    loop_.any_thread_post(done);
  }
}

void RedisLink::begin_connect() {
  if (resolved_->addresses.empty()) return fail(resolved_->wrong);
  const Address& to = resolved_->addresses[connection_ % resolved_->addresses.size()];
  descriptor_ = socket(to.bytes.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  reader_ = redisReaderCreate();
  if (descriptor_ < 0 || !reader_) return fail("the system has no room for a connection");
  int one = 1;
  if (to.bytes.ss_family != AF_UNIX)
    setsockopt(descriptor_, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (::connect(descriptor_, reinterpret_cast<const sockaddr*>(&to.bytes), to.size) &&
      errno != EINPROGRESS)
    return fail(text_of_error(errno));
  state_ = connecting;
  blocked_ = true;
  if (!loop_.watch(*this, descriptor_, EPOLLIN | EPOLLOUT))
    fail("the system has no room for a connection");
}

void RedisLink::begin_greeting() {
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(descriptor_, SOL_SOCKET, SO_ERROR, &error, &size);
  if (error) return fail(text_of_error(error));
  state_ = greeting;
  std::string database = std::to_string(address_.database);
  if (!address_.password.empty()) {
    std::string_view words[] = {"AUTH", address_.user, address_.password};
    std::string_view without_user[] = {words[0], words[2]};
    append(address_.user.empty() ? Words(without_user) : Words(words));
    greetings_++;
  }
  std::string_view select[] = {"SELECT", database}, ping[] = {"PING"};
  append(address_.database ? Words(select) : Words(ping));
  greetings_++;
  flush();
}

void RedisLink::greet(const redisReply& reply) {
  if (reply.type == REDIS_REPLY_ERROR) {
    std::string said(reply.str, std::min<size_t>(reply.len, 200));
    bool is_of_password = !address_.password.empty() && greetings_ == 2;
    if (is_of_password) said = without_arguments(said, address_.password);
    return fail("Redis does not let this server in: " + said);
  }
  if (--greetings_) return;
  state_ = up;
  heard_ms_ = monotonic_ms();
  probed_ms_ = 0;
  loop_.set_timer(*this, kProbeInterval_ms);
  owner_.on_up(*this);
}

// --- Ending ---

void RedisLink::drop() {
  resolved_ = nullptr;
  loop_.cancel_timer(*this);
  if (descriptor_ >= 0) {
    loop_.unwatch(*this, descriptor_);
    close(descriptor_);
  }
  descriptor_ = -1;
  if (reader_) redisReaderFree(reader_);
  reader_ = nullptr;
  out_.clear();
  out_.shrink_to_fit();
  out_sent_ = 0;
  greetings_ = 0;
  blocked_ = false;
  state_ = idle;
}

void RedisLink::fail(const std::string& reason) {
  drop();
  owner_.on_down(*this, reason);
}

void RedisLink::on_due() {
  if (state_ != up) return fail("it does not answer");
  uint64_t now_ms = monotonic_ms();
  if (probed_ms_ && heard_ms_ >= probed_ms_) probed_ms_ = 0;
  if (probed_ms_ && now_ms - probed_ms_ >= kSilence_ms) return fail("it does not answer any more");
  loop_.set_timer(*this, kProbeInterval_ms);
  if (probed_ms_) return;
  probed_ms_ = now_ms;
  owner_.on_probe(*this);
}

// --- Sending ---

void RedisLink::append(Words words) {
  out_ += '*' + std::to_string(words.size()) + "\r\n";
  for (std::string_view word : words) {
    out_ += '$' + std::to_string(word.size()) + "\r\n";
    out_ += word;
    out_ += "\r\n";
  }
}

void RedisLink::send(Words words) {
  append(words);
  flush_soon();
}

// What else this turn of the loop brings leaves in the same write.
void RedisLink::flush_soon() {
  if (flush_posted_ || blocked_) return;
  loop_.any_thread_post([self = self_] {
    if (!*self) return;
    (*self)->flush_posted_ = false;
    if ((*self)->is_up()) (*self)->flush();
  });
  flush_posted_ = true;
}

void RedisLink::flush() {
  while (out_sent_ < out_.size()) {
    ssize_t sent = ::send(descriptor_, out_.data() + out_sent_, out_.size() - out_sent_,
                          MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) {
      out_sent_ += size_t(sent);
    } else if (errno == EAGAIN) {
      break;
    } else if (errno != EINTR) {
      return fail(text_of_error(errno));
    }
  }
  constexpr size_t kWorthMoving = 256 * 1024;
  if (out_sent_ == out_.size()) {
    out_.clear();
    out_sent_ = 0;
  } else if (out_sent_ > kWorthMoving && out_sent_ > out_.size() / 2) {
    out_.erase(0, out_sent_);
    out_sent_ = 0;
  }
  bool was_blocked = std::exchange(blocked_, out_sent_ < out_.size());
  if (blocked_ != was_blocked)
    loop_.watch(*this, descriptor_, blocked_ ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

// --- Receiving ---

void RedisLink::on_ready(uint32_t events) noexcept {
  try {
    if (state_ == connecting) begin_greeting();
    else if (events & EPOLLOUT) flush();
    if (state_ >= greeting && events & (EPOLLIN | EPOLLHUP | EPOLLERR)) read();
  } catch (const std::bad_alloc&) {
    fail("no memory for what it says");
  }
}

void RedisLink::read() {
  constexpr int kReads = 8;  // then others have their turn
  for (int i = 0; i < kReads; i++) {
    ssize_t size = recv(descriptor_, received_.data(), received_.size(), MSG_DONTWAIT);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) break;
    if (size < 0) return fail(text_of_error(errno));
    if (!size) return fail("Redis has closed the connection");
    heard_ms_ = monotonic_ms();
    if (redisReaderFeed(reader_, received_.data(), size_t(size)) != REDIS_OK)
      throw std::bad_alloc();
    if (!take_replies()) return;
    if (size_t(size) < received_.size()) break;
  }
  if (state_ == up) owner_.on_read_end(*this);
}

// False if the link is gone.
bool RedisLink::take_replies() {
  while (true) {
    void* taken = nullptr;
    if (redisReaderGetReply(reader_, &taken) != REDIS_OK) {
      fail("what it says is not Redis's protocol");
      return false;
    }
    if (!taken) break;
    std::unique_ptr<redisReply, void (*)(void*)> reply(static_cast<redisReply*>(taken),
                                                       freeReplyObject);
    uint64_t connection = connection_;
    if (state_ == greeting) greet(*reply);
    else owner_.on_reply(*this, *reply);
    if (state_ < greeting || connection != connection_) return false;
  }
  if (reader_->len > kMaxReply) {
    fail("a reply of more than 1 GiB");
    return false;
  }
  return true;
}

}  // namespace mws
#endif
