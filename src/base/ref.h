// Shared ownership of what many have one each of: the count is in the object, where a
// std::shared_ptr to it that can be had from itself takes 32 bytes more.
#pragma once
#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace mws {

// Is destroyed by the last Ref that lets go of it, on whichever thread that is.
class Counted {
 public:
  Counted() = default;
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  virtual ~Counted() = default;

 private:
  template <class T>
  friend class Ref;
  std::atomic<uint32_t> references_ = 0;
};

template <class T>
class Ref {
 public:
  Ref(std::nullptr_t = nullptr) {}
  // Of one that has just been made, or that another Ref holds meanwhile.
  explicit Ref(T* object) : object_(object) {
    if (object_) count(*object_).fetch_add(1, std::memory_order_relaxed);
  }
  Ref(const Ref& other) : Ref(other.object_) {}
  Ref(Ref&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  template <std::derived_from<T> Other>
  Ref(Ref<Other> other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Ref& operator=(Ref other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Ref() {
    if (object_ && count(*object_).fetch_sub(1, std::memory_order_acq_rel) == 1) delete object_;
  }

  T* get() const { return object_; }
  T& operator*() const { return *object_; }
  T* operator->() const { return object_; }
  explicit operator bool() const { return object_; }

 private:
  template <class Other>
  friend class Ref;
  static std::atomic<uint32_t>& count(Counted& object) { return object.references_; }
  T* object_ = nullptr;
};

template <class T, class... Arguments>
Ref<T> make_ref(Arguments&&... arguments) {
  return Ref<T>(new T(std::forward<Arguments>(arguments)...));
}

}  // namespace mws
