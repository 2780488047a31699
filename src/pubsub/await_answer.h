// For a thread that may wait, and is not the bus's loop: what the bus answers.
#pragma once
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>

namespace mws {

template <class T>
struct AwaitedAnswer {
  std::mutex lock;
  std::condition_variable came;
  std::optional<T> value;
};

// Calls ask(answered) and waits until answered(const T&) has been called, by any thread; nothing
// if that takes longer. It may be called then too, or never. Throws what ask throws.
template <class T, class Ask>
std::optional<T> await_answer(std::chrono::milliseconds patience, Ask ask) {
  auto answer = std::make_shared<AwaitedAnswer<T>>();
  ask([answer](const T& value) {
    std::lock_guard hold(answer->lock);
    answer->value = value;
    answer->came.notify_one();
  });
  std::unique_lock hold(answer->lock);
  answer->came.wait_for(hold, patience, [&] { return answer->value.has_value(); });
  return answer->value;
}

}  // namespace mws
