#include "src/httpd/status.h"

#include <apr_lib.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_protocol.h>
#include <http_request.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <string_view>

#include "src/base/log_limit.h"
#include "src/httpd/upgrade.h"

namespace mws {

namespace {

enum class Format { page, json, prometheus };

// Prometheus sends what it takes; `application/openmetrics-text` among it, and this format's name.
bool accepts_prometheus(request_rec* r) {
  const char* accept = apr_table_get(r->headers_in, "Accept");
  std::string types;
  for (; accept && *accept; accept++)
    if (!apr_isspace(*accept)) types += char(apr_tolower(*accept));
  return types.find("application/openmetrics-text") != types.npos ||
         types.find("text/plain;version=0.0.4") != types.npos;
}

// Nothing if it is none that there is.
std::optional<Format> wanted_format(request_rec* r) {
  std::string_view query = r->args ? r->args : "";
  while (!query.empty()) {
    std::string_view each = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), each.size() + 1));
    if (!each.starts_with("format=")) continue;
    each.remove_prefix(strlen("format="));
    if (each == "prometheus") return Format::prometheus;
    if (each == "json") return Format::json;
    if (each == "html") return Format::page;
    return std::nullopt;
  }
  return accepts_prometheus(r) ? Format::prometheus : Format::page;
}

int send(request_rec* r, int status, const char* type, const std::string& body) {
  if (status != HTTP_OK) {
    r->status = status;
    r->status_line = nullptr;
  }
  // Not what mod_mime makes of the path.
  r->content_encoding = nullptr;
  r->content_languages = nullptr;
  apr_table_setn(r->headers_out, "Cache-Control", "no-store");
  apr_table_setn(r->headers_out, "X-Content-Type-Options", "nosniff");
  ap_set_content_type(r, type);
  ap_set_content_length(r, apr_off_t(body.size()));
  ap_rwrite(body.data(), int(body.size()), r);
  return OK;
}

int answer(request_rec* r) {
  if (r->method_number != M_GET) {
    apr_table_setn(r->headers_out, "Allow", "GET, HEAD");
    return send(r, HTTP_METHOD_NOT_ALLOWED, "text/plain", "The status is read with GET.\n");
  }
  if (is_for_internal_websocket(r)) return feed_status(r);
  auto format = wanted_format(r);
  if (!format)
    return send(r, HTTP_BAD_REQUEST, "text/plain",
                "The format is none of format=html, format=json, format=prometheus.\n");
  switch (*format) {
    case Format::json: return send(r, HTTP_OK, "application/json", status_json(Snapshot()) + "\n");
    case Format::prometheus:
      return send(r, HTTP_OK, "text/plain; version=0.0.4; charset=utf-8",
                  status_prometheus(Snapshot()));
    case Format::page: break;
  }
  return send(r, HTTP_OK, "text/html; charset=utf-8", status_page());
}

// .htaccess and what stands for a file's name do not open it.
int refuse(request_rec* r) {
  static LogLimit limit(5, 10'000);
  std::string left_out;
  if (limit.allows(left_out))
    ap_log_rerror(
        APLOG_MARK, APLOG_WARNING, 0, r,
        "WS701: no status here: SetHandler websocket-status has to stand in a section of the "
        "server's configuration%s",
        left_out.c_str());
  return HTTP_FORBIDDEN;
}

}  // namespace

std::string status_page() {
  return "<!DOCTYPE html><title>WebSockets</title><h1>WebSockets</h1>"
         "<p><a href='?format=json'>JSON</a> <a href='?format=prometheus'>Prometheus</a></p>\n";
}

int serve_status(request_rec* r) {
  if (!r->handler || strcmp(r->handler, kStatusHandler) || r->main) return DECLINED;
  if (!location_config(r)->shows_status()) return refuse(r);
  try {
    return answer(r);
  } catch (const std::exception&) {  // no memory is left
    return HTTP_SERVICE_UNAVAILABLE;
  }
}

}  // namespace mws
