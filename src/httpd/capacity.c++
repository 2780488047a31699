#include "src/httpd/capacity.h"

#include <ap_mpm.h>
#include <fcntl.h>
#include <http_core.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <system_error>

#include "src/httpd/admission.h"
#include "src/httpd/children.h"
#include "src/httpd/config.h"
#include "src/httpd/connection_id.h"
#include "src/httpd/connection_log.h"
#include "src/httpd/control.h"
#include "src/httpd/metrics.h"
#include "src/httpd/named_handlers.h"
#include "src/httpd/sites.h"
#include "src/httpd/topics.h"

namespace mws {

namespace {

int first_kept = INT_MAX;  // descriptor; it and those above are httpd's
pid_t parent = 0;

}  // namespace

// All that a process may have but a reserve: for each thread of the MPM a connection and a file,
// and what modules hold.
int descriptors_for_websockets() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur > INT_MAX) return INT_MAX;
  int all = int(limit.rlim_cur);
  return all - std::min(all / 4, 64 + 2 * std::max(1, mpm_number(AP_MPMQ_MAX_THREADS)));
}

int mpm_number(int query) {
  int value = 0;
  ap_mpm_query(query, &value);
  return value;
}

bool is_event_mpm() { return !strcmp(ap_show_mpm(), "event"); }

pid_t parent_process() { return parent; }

void take_descriptor_limit() { first_kept = descriptors_for_websockets(); }

int duplicate_descriptor(int descriptor) {
  int duplicate = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
  if (duplicate < 0) throw std::system_error(errno, std::generic_category(), "descriptors");
  if (duplicate < first_kept) return duplicate;
  close(duplicate);  // and it was the lowest free one
  throw NoRoom{"the limit on open files", Refusal::descriptors};
}

int prepare_children(apr_pool_t* pconf, apr_pool_t*, apr_pool_t*, server_rec* s) {
  if (ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_CREATE_PRE_CONFIG) return OK;
  parent = getpid();
  make_children_table(s);
  make_sites(s);
  make_counters(s);
  number_sites(s);
  make_connection_ids(s);
  make_topics(s);
  make_admission_tables(s);
  if (!open_connection_logs(pconf, s)) return HTTP_INTERNAL_SERVER_ERROR;
  make_control(s);
  if (!server_config().serves_websockets) return OK;
  long children = mpm_number(AP_MPMQ_MAX_DAEMONS), slots = mpm_number(AP_MPMQ_HARD_LIMIT_DAEMONS);
  long each = descriptors_for_websockets(), wanted = server_config().max_websockets;
  if (each == INT_MAX) return OK;
  ap_log_error(
      APLOG_MARK, APLOG_NOTICE, 0, s,
      "WS101: room for about %ld WebSockets: %ld in each of up to %ld child processes, by their "
      "descriptor limit",
      each * children, each, children);
  if (wanted && wanted > each * children)
    ap_log_error(
        APLOG_MARK, APLOG_WARNING, 0, s,
        "WS102: WebSocketMaxConnections %ld cannot be reached: the descriptor limit has room for "
        "%ld; raise it (ulimit -n) or MaxRequestWorkers",
        wanted, each * children);
  if (is_event_mpm() && slots <= children)
    ap_log_error(
        APLOG_MARK, APLOG_WARNING, 0, s,
        "WS103: ServerLimit %ld leaves children that drain no room beside %ld new ones, so their "
        "WebSockets may be closed at once on a graceful restart; set it to %ld",
        slots, children, 2 * children);
  return OK;
}

}  // namespace mws
