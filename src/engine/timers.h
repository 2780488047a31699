// Deadlines of one loop: a binary heap. Setting, moving and cancelling cost O(log n); a timer that
// is not set costs nothing but its own bytes. One thread.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace mws {

class Timer {
 public:
  bool is_set() const { return place_ != kNowhere; }

 protected:
  ~Timer() = default;  // cancel first
  virtual void on_due() = 0;

 private:
  friend class Timers;
  static constexpr uint32_t kNowhere = UINT32_MAX;
  uint32_t place_ = kNowhere;
};

class Timers {
 public:
  // From then on, setting as many timers takes no memory. Throws std::bad_alloc.
  void make_room_for(size_t timers);
  void set(Timer& timer, uint64_t due_ms);  // moves it if it was set
  void cancel(Timer& timer);                // nothing happens if it was not set
  bool empty() const { return heap_.empty(); }
  uint64_t next_due_ms() const { return heap_.front().due_ms; }  // only if not empty
  // Takes each timer that is due out of the heap and calls it. Timers may be set and cancelled from
  // there; one that is set for now or earlier is due a millisecond later, so that it cannot keep
  // the loop here.
  void run(uint64_t now_ms);

 private:
  struct Entry {
    uint64_t due_ms;
    Timer* timer;
  };
  void put(size_t place, Entry entry);
  void rise(size_t place);
  void sink(size_t place);
  void remove(size_t place);
  std::vector<Entry> heap_;
  uint64_t earliest_ms_ = 0;  // what a timer can be set for; later than now during a run
};

}  // namespace mws
