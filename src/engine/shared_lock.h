// A mutex in memory that processes share, which outlives the death of who holds it.
#pragma once
#include <pthread.h>

#include <cerrno>

namespace mws {

inline void make_shared_mutex(pthread_mutex_t& mutex) {
  pthread_mutexattr_t kind;
  pthread_mutexattr_init(&kind);
  pthread_mutexattr_setpshared(&kind, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&kind, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_init(&mutex, &kind);
  pthread_mutexattr_destroy(&kind);
}

class SharedLock {
 public:
  // repair() runs first if the last to hold the mutex died with it.
  template <class Repair>
  SharedLock(pthread_mutex_t& mutex, Repair repair) : mutex_(mutex) {
    if (pthread_mutex_lock(&mutex_) != EOWNERDEAD) return;
    repair();
    pthread_mutex_consistent(&mutex_);
  }
  ~SharedLock() { pthread_mutex_unlock(&mutex_); }
  SharedLock(const SharedLock&) = delete;
  SharedLock& operator=(const SharedLock&) = delete;

 private:
  pthread_mutex_t& mutex_;
};

}  // namespace mws
