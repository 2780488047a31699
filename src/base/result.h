// A value, or one line of text that says why there is none.
#pragma once
#include <string>
#include <utility>
#include <variant>

namespace mws {

struct Failure {
  std::string reason;
};

template <class T>
class Result {
 public:
  Result(T value) : held_(std::in_place_index<0>, std::move(value)) {}
  Result(Failure failure) : held_(std::in_place_index<1>, std::move(failure)) {}

  explicit operator bool() const { return held_.index() == 0; }
  T& operator*() { return std::get<0>(held_); }
  T* operator->() { return &std::get<0>(held_); }
  const std::string& reason() const { return std::get<1>(held_).reason; }  // only of a failure

 private:
  std::variant<T, Failure> held_;
};

}  // namespace mws
