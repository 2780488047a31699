// Where a loop counts.
#pragma once
#include "src/base/counters.h"

namespace mws {

// Of one loop, whose thread alone uses it.
class Meters {
 public:
  virtual ~Meters() = default;
  // Those of a location, by its number (Site::number), for this loop to add to; they last as long
  // as this.
  virtual Counters& counters(unsigned site_number) noexcept = 0;
  // nullptr: nobody wants to know of this loop.
  virtual LoopCounters* loop_counters() noexcept = 0;
};

}  // namespace mws
