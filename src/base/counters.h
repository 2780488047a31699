// What is counted of WebSockets: plain data that may lie in memory which processes share. Nothing
// is ever reset, but for what is there now, so that a reader may add up the counters of writers
// that are gone with those of writers that live.
#pragma once
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

namespace mws {

// Where a connection lives.
enum class Mooring : uint8_t { plain, tls, resident };
constexpr size_t kMoorings = 3;

// Why a connection has ended.
enum class Cause : uint8_t {
  client,        // it closed, or ended its side
  handler,       // closed or aborted it
  protocol,      // the client broke a rule
  message_size,  // a message longer than WebSocketMaxMessage
  fragments,     // a message of more fragments than WebSocketMaxFragments
  lost,          // reading or writing failed
  drain,         // a graceful restart or stop
  stop,          // a restart or stop
  ping,          // no pong came in time
  idle,          // no message for too long
  lifetime,      // it was there for long enough
  rate,          // more messages or bytes than allowed
  control_rate,  // more control frames than allowed
  slow,          // the client read too slowly
  memory,        // too much waited for clients, and most for this one
  admin,         // somebody closed it on the status page
  died,          // its process died
};
constexpr size_t kCauses = 17;

// Why an opening handshake was refused.
enum class Refusal : uint8_t {
  request,         // no correct opening handshake
  origin,          // WebSocketOrigin
  handler,         // the handler's answer
  connections,     // WebSocketMaxConnections
  resident,        // WebSocketMaxResident
  location,        // WebSocketMaxPerLocation
  address,         // WebSocketMaxPerAddress
  handshake_rate,  // WebSocketHandshakeRate
  descriptors,     // the process may have no more open files
  resources,       // memory or a thread was not to be had
};
constexpr size_t kRefusals = 10;

const char* name_of(Mooring mooring);
const char* name_of(Cause cause);
const char* name_of(Refusal refusal);

// Close codes with a counter of their own; all others share the last one.
constexpr std::array<uint16_t, 16> kCountedCodes = {1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008,
                                                    1009, 1010, 1011, 1012, 1013, 1014, 3000, 4000};
constexpr size_t kCodes = kCountedCodes.size() + 1;
// Of which counter: 3000 stands for all of 3000 to 3999, 4000 for 4000 to 4999.
size_t code_index(uint16_t code);
// "1000", "3xxx", "other".
std::string name_of_code(size_t index);

class Counter {
 public:
  // Only by the one thread that writes this counter.
  void add(uint64_t amount = 1) {
    value_.store(value_.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
  }
  void subtract(uint64_t amount = 1) { add(-amount); }
  void any_thread_add(uint64_t amount = 1) { value_.fetch_add(amount, std::memory_order_relaxed); }
  uint64_t value() const { return value_.load(std::memory_order_relaxed); }
  void reset() { value_.store(0, std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_ = 0;
};

// How often something took how long. The bounds are powers of 4 from 1 microsecond on: 1 us, 4 us,
// 16 us ... about 17 s; the last count is of what took longer.
class Histogram {
 public:
  static constexpr size_t kBounds = 13;
  static constexpr uint64_t bound_ns(size_t i) { return 1000ull << (2 * i); }
  static size_t bucket_of(uint64_t took_ns) {
    size_t i = 0;
    while (i < kBounds && took_ns > bound_ns(i)) i++;
    return i;
  }
  void add(uint64_t took_ns) {
    counts[bucket_of(took_ns)].add();
    sum_ns.add(took_ns);
  }
  void any_thread_add(uint64_t took_ns) {
    counts[bucket_of(took_ns)].any_thread_add();
    sum_ns.any_thread_add(took_ns);
  }

  std::array<Counter, kBounds + 1> counts;
  Counter sum_ns;
};

// Of a location, and of one writer: a loop, or all other threads of a process together.
struct Counters {
  enum Kind { text, binary };  // of message
  enum Direction { received, sent };

  // What is there now; nothing of a writer that is gone.
  std::array<Counter, kMoorings> open;
  Counter buffered_bytes;  // sent by handlers, and not taken by the system yet

  std::array<Counter, kMoorings> opened;
  std::array<Counter, kCodes> closed;  // by close code
  std::array<Counter, kCauses> causes;
  std::array<Counter, kRefusals> refused;
  std::array<std::array<Counter, 2>, 2> messages, bytes;  // [Direction][Kind]; of payload, inflated
  Counter pings_sent, pings_received, pongs_received;
  Counter dropped;      // messages for clients that read too slowly
  Counter slow_pauses;  // reading was paused because the client did not read
  Counter rate_pauses;  // because it sent too much
  // permessage-deflate: messages that went or came compressed.
  std::array<Counter, 2> deflate_raw_bytes, deflate_wire_bytes, deflate_ns;  // [Direction]
  Histogram round_trip;  // from a ping to its pong
  Histogram handler;     // a message's callback; on a loop every 32nd
};

// Of one loop.
struct LoopCounters {
  Histogram turn;  // every 16th: how long what became ready next had to wait
};

}  // namespace mws
