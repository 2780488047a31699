#include "src/base/counters.h"

#include <algorithm>

namespace mws {

size_t code_index(uint16_t code) {
  if (code >= 3000 && code < 5000) code = code < 4000 ? 3000 : 4000;
  return size_t(std::find(kCountedCodes.begin(), kCountedCodes.end(), code) -
                kCountedCodes.begin());
}

}  // namespace mws
