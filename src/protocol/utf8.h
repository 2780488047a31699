// Streaming UTF-8 validation (RFC 3629; RFC 6455 §8.1): fails in the piece with the first byte
// after which no continuation can make the text valid.
#pragma once
#include <cstdint>

#include "src/base/bytes.h"

namespace mws {

class Utf8Validator {
 public:
  // False once the text seen so far cannot be the start of valid UTF-8; it stays false.
  bool feed(Bytes piece);
  // The same without simdjson. feed() is this where the library was not found, and for what is
  // short; public for the tests.
  bool feed_plainly(Bytes piece);
  // Whether the text seen so far ends between two characters.
  bool complete() const { return state_ == 0; }
  void reset() { state_ = 0; }

 private:
  bool feed_text(Bytes piece);

  uint8_t state_ = 0;
};

inline bool is_utf8(Bytes whole) {
  Utf8Validator validator;
  return validator.feed(whole) && validator.complete();
}

}  // namespace mws
