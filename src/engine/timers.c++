#include "src/engine/timers.h"

#include <algorithm>

namespace mws {

void Timers::make_room_for(size_t timers) {
  if (timers > heap_.capacity()) heap_.reserve(std::max(timers, 2 * heap_.capacity()));
}

void Timers::set(Timer& timer, uint64_t due_ms) {
  due_ms = std::max(due_ms, earliest_ms_);
  if (!timer.is_set()) {
    heap_.push_back({due_ms, &timer});
    rise(heap_.size() - 1);
    return;
  }
  size_t place = timer.place_;
  bool earlier = due_ms < heap_[place].due_ms;
  heap_[place].due_ms = due_ms;
  earlier ? rise(place) : sink(place);
}

void Timers::cancel(Timer& timer) {
  if (timer.is_set()) remove(timer.place_);
}

void Timers::run(uint64_t now_ms) {
  earliest_ms_ = now_ms + 1;
  while (!heap_.empty() && heap_[0].due_ms <= now_ms) {
    Timer& timer = *heap_[0].timer;
    remove(0);
    timer.on_due();
  }
  earliest_ms_ = 0;
}

void Timers::put(size_t place, Entry entry) {
  heap_[place] = entry;
  entry.timer->place_ = uint32_t(place);
}

void Timers::rise(size_t place) {
  Entry entry = heap_[place];
  for (size_t parent; place && entry.due_ms < heap_[parent = (place - 1) / 2].due_ms;
       place = parent)
    put(place, heap_[parent]);
  put(place, entry);
}

void Timers::sink(size_t place) {
  Entry entry = heap_[place];
  for (size_t child; (child = 2 * place + 1) < heap_.size(); place = child) {
    if (child + 1 < heap_.size() && heap_[child + 1].due_ms < heap_[child].due_ms) child++;
    if (entry.due_ms <= heap_[child].due_ms) break;
    put(place, heap_[child]);
  }
  put(place, entry);
}

void Timers::remove(size_t place) {
  heap_[place].timer->place_ = Timer::kNowhere;
  Entry last = heap_.back();
  heap_.pop_back();
  if (place == heap_.size()) return;
  put(place, last);
  rise(place);
  sink(last.timer->place_);
}

}  // namespace mws
