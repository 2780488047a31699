// What mod_status says of WebSockets.
#include <http_protocol.h>
#include <mod_status.h>

#include "src/httpd/status.h"
#include "src/httpd/status_text.h"

namespace mws {

namespace {

struct Line {
  const char *key, *text;
  uint64_t value;
};

void write_lines(request_rec* r, int flags) {
  Snapshot now;
  const Counters& total = now.total;
  uint64_t draining = 0;
  for (const auto& child : now.children) draining += child.is.drains ? child.open : 0;
  const Line lines[] = {
      {"Open", "open", sum_of(total.open)},
      {"OpenDraining", "of these in children that drain", draining},
      {"Opened", "opened", sum_of(total.opened)},
      {"Closed", "closed", sum_of(total.closed)},
      {"Refused", "opening handshakes refused", sum_of(total.refused)},
      {"MessagesReceived", "messages received", sum_of(total.messages[Counters::received])},
      {"MessagesSent", "messages sent", sum_of(total.messages[Counters::sent])},
      {"BytesReceived", "bytes received", sum_of(total.bytes[Counters::received])},
      {"BytesSent", "bytes sent", sum_of(total.bytes[Counters::sent])},
      {"BufferedBytes", "bytes waiting for clients", total.buffered_bytes.value()}};
  bool is_short = flags & AP_STATUS_SHORT;
  if (!is_short) ap_rputs("<hr />\n<h2>WebSockets</h2>\n<dl>\n", r);
  for (const Line& each : lines)
    if (is_short) ap_rprintf(r, "WebSocket%s: %" APR_UINT64_T_FMT "\n", each.key, each.value);
    else ap_rprintf(r, "<dt>%s: %" APR_UINT64_T_FMT "</dt>\n", each.text, each.value);
  if (!is_short) ap_rputs("</dl>\n", r);
}

}  // namespace

int add_to_server_status(request_rec* r, int flags) {
  try {
    write_lines(r, flags);
    return OK;
  } catch (const std::bad_alloc&) {
    return DECLINED;
  }
}

}  // namespace mws
