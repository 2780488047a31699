#include "src/engine/budget.h"

#include <algorithm>

#include "src/engine/loop.h"

namespace mws {

void Budget::add(Loop& loop) {
  std::lock_guard hold(lock_);
  loops_.push_back(&loop);
}

void Budget::remove(Loop& loop) {
  std::lock_guard hold(lock_);
  std::erase(loops_, &loop);
}

void Budget::shed() {
  std::lock_guard hold(lock_);
  auto most = std::max_element(loops_.begin(), loops_.end(),
                               [](Loop* a, Loop* b) { return a->buffered() < b->buffered(); });
  if (most != loops_.end()) (*most)->any_thread_shed();
}

}  // namespace mws
