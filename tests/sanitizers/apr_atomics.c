/* APR's atomic operations, once more, for the thread sanitizer: it cannot see those that are
 * compiled into libapr, and would call every pool that httpd hands from thread to thread by them a
 * race. Preloaded before libapr, and declared here, as its prototypes differ from version to
 * version. As strong as APR's own are on the machines that it has assembler for. */
#include <stdint.h>

#define ORDER __ATOMIC_SEQ_CST
#define EXPORTED __attribute__((visibility("default")))

#define OPERATIONS(bits)                                                                         \
  EXPORTED uint##bits##_t apr_atomic_read##bits(volatile uint##bits##_t* at) {                   \
    return __atomic_load_n(at, ORDER);                                                           \
  }                                                                                              \
  EXPORTED void apr_atomic_set##bits(volatile uint##bits##_t* at, uint##bits##_t value) {        \
    __atomic_store_n(at, value, ORDER);                                                          \
  }                                                                                              \
  EXPORTED uint##bits##_t apr_atomic_add##bits(volatile uint##bits##_t* at,                      \
                                               uint##bits##_t value) {                           \
    return __atomic_fetch_add(at, value, ORDER);                                                 \
  }                                                                                              \
  EXPORTED void apr_atomic_sub##bits(volatile uint##bits##_t* at, uint##bits##_t value) {        \
    __atomic_fetch_sub(at, value, ORDER);                                                        \
  }                                                                                              \
  EXPORTED uint##bits##_t apr_atomic_inc##bits(volatile uint##bits##_t* at) {                    \
    return __atomic_fetch_add(at, 1, ORDER);                                                     \
  }                                                                                              \
  EXPORTED int apr_atomic_dec##bits(volatile uint##bits##_t* at) {                               \
    return __atomic_sub_fetch(at, 1, ORDER) != 0;                                                \
  }                                                                                              \
  EXPORTED uint##bits##_t apr_atomic_cas##bits(volatile uint##bits##_t* at, uint##bits##_t with, \
                                               uint##bits##_t expected) {                        \
    __atomic_compare_exchange_n(at, &expected, with, 0, ORDER, ORDER);                           \
    return expected;                                                                             \
  }                                                                                              \
  EXPORTED uint##bits##_t apr_atomic_xchg##bits(volatile uint##bits##_t* at,                     \
                                                uint##bits##_t value) {                          \
    return __atomic_exchange_n(at, value, ORDER);                                                \
  }

OPERATIONS(32)
OPERATIONS(64)

EXPORTED void* apr_atomic_casptr(void* volatile* at, void* with, const void* expected) {
  void* found = (void*)expected;
  __atomic_compare_exchange_n(at, &found, with, 0, ORDER, ORDER);
  return found;
}

EXPORTED void* apr_atomic_xchgptr(void* volatile* at, void* with) {
  return __atomic_exchange_n(at, with, ORDER);
}
