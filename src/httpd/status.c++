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
#include "src/httpd/status_page.h"
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

// What the query has behind that name and its "="; nothing where it has not.
std::optional<std::string_view> asked(request_rec* r, std::string_view name) {
  std::string_view query = r->args ? r->args : "";
  while (!query.empty()) {
    std::string_view each = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), each.size() + 1));
    if (each.starts_with(name)) return each.substr(name.size());
  }
  return std::nullopt;
}

// Nothing if it is none that there is.
std::optional<Format> wanted_format(request_rec* r) {
  auto format = asked(r, "format=");
  if (!format) return accepts_prometheus(r) ? Format::prometheus : Format::page;
  if (*format == "prometheus") return Format::prometheus;
  if (*format == "json") return Format::json;
  if (*format == "html") return Format::page;
  return std::nullopt;
}

// A file of the page: a script of another version would not do, so nothing is kept.
int send_asset(request_rec* r, std::string_view name) {
  std::string_view content = status_asset(name);
  if (content.empty())
    return send_status(r, HTTP_NOT_FOUND, "text/plain", "The page has no such file.\n");
  apr_table_setn(r->headers_out, "Content-Security-Policy", kStatusPolicy);
  apr_table_setn(r->headers_out, "X-Frame-Options", "DENY");
  return send_status(r, HTTP_OK, status_asset_type(name), content);
}

int answer(request_rec* r) {
  if (is_for_admin(r)) return serve_admin(r);
  if (r->method_number != M_GET) {
    apr_table_setn(r->headers_out, "Allow", "GET, HEAD");
    return send_status(r, HTTP_METHOD_NOT_ALLOWED, "text/plain", "The status is read with GET.\n");
  }
  if (is_for_internal_websocket(r)) return feed_status(r);
  if (auto name = asked(r, "asset=")) return send_asset(r, *name);
  auto format = wanted_format(r);
  if (!format)
    return send_status(r, HTTP_BAD_REQUEST, "text/plain",
                       "The format is none of format=html, format=json, format=prometheus.\n");
  switch (*format) {
    case Format::json:
      return send_status(r, HTTP_OK, "application/json", status_json(Snapshot()) + "\n");
    case Format::prometheus:
      return send_status(r, HTTP_OK, "text/plain; version=0.0.4; charset=utf-8",
                         status_prometheus(Snapshot()));
    case Format::page: break;
  }
  return send_asset(r, "status.html");
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

int send_status(request_rec* r, int status, const char* type, std::string_view body) {
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
