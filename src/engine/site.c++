#include "src/engine/site.h"

namespace mws {

const Site& Site::unlimited() {
  static const Site site(0, {});
  return site;
}

}  // namespace mws
