// Listing the server's connections, and closing them: GET ?connections and POST ?close.
#include <http_protocol.h>

#include <string_view>

#include "src/httpd/status.h"

namespace mws {

bool is_for_admin(request_rec* r) {
  std::string_view query = r->args ? r->args : "";
  query = query.substr(0, query.find_first_of("&="));
  return query == "connections" || query == "close";
}

}  // namespace mws

#ifdef WEBSOCKET_JSON
#include <apr_lib.h>
#include <apr_strings.h>

#include <cstring>

#include "src/base/log_limit.h"
#include "src/httpd/admin_access.h"
#include "src/httpd/admin_order.h"
#include "src/httpd/control.h"
#include "src/httpd/request_body.h"

namespace mws {

namespace {

constexpr uint64_t kMaxBody_bytes = 16 * 1024;
constexpr const char* kType = "application/json";

int refuse(request_rec* r, int status, const std::string& reason) {
  static LogLimit limit(20, 10'000);
  std::string left_out;
  if (APLOG_R_IS_LEVEL(r, APLOG_INFO) && limit.allows(left_out))
    ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r,
                  "WS703: listing or closing connections refused with %d: %s%s", status,
                  reason.c_str(), left_out.c_str());
  Json json = {{"error", reason}};
  return send_status(r, status, kType,
                     json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
}

// The fields of the query behind its first one.
Json read_query(request_rec* r) {
  Json query = Json::object();
  char* rest = nullptr;
  char* each = apr_strtok(apr_pstrdup(r->pool, r->args), "&", &rest);
  if (strchr(each, '=')) throw BadOrder{std::string(each, strcspn(each, "=")) + " has no value"};
  while ((each = apr_strtok(nullptr, "&", &rest))) {
    char* value = strchr(each, '=');
    if (!value) throw BadOrder{"each field of the query behind the first has a value"};
    *value++ = 0;
    if (ap_unescape_urlencoded(each) || ap_unescape_urlencoded(value) || !is_utf8(bytes_of(each)) ||
        !is_utf8(bytes_of(value)))
      throw BadOrder{"the query is not encoded as it should be"};
    if (query.contains(each)) throw BadOrder{"the query has a field twice"};
    query[each] = value;
  }
  return query;
}

std::string about(const Found& found) {
  Json unanswered = found.unanswered;
  return std::string("\"incomplete\":") + (found.incomplete ? "true" : "false") +
         ",\"unanswered\":" + unanswered.dump() + "}\n";
}

int list(request_rec* r) {
  if (r->method_number != M_GET) {
    apr_table_setn(r->headers_out, "Allow", "GET, HEAD");
    return refuse(r, HTTP_METHOD_NOT_ALLOWED, "connections are listed with GET");
  }
  if (const char* why = why_no_admin(r)) return refuse(r, HTTP_FORBIDDEN, why);
  Order order = listing_of(read_query(r));
  Found found = ask_children(order);
  return send_status(r, HTTP_OK, kType,
                     "{\"connections\":[" + found.rows +
                         "],\"total\":" + std::to_string(found.total) + ",\"token\":\"" +
                         admin_token(r) + "\"," + about(found));
}

bool is_json(request_rec* r) {
  const char* type = apr_table_get(r->headers_in, "Content-Type");
  size_t size = type ? strcspn(type, "; \t") : 0;
  return size == strlen(kType) && !strncasecmp(type, kType, size);
}

void log_closed(request_rec* r, const Order& order, const Found& found) {
  auto text = [](const Json& json) { return json.dump(-1, ' ', true); };
  ap_log_rerror(APLOG_MARK, APLOG_NOTICE, 0, r,
                "WS704: user \"%s\" has closed %" APR_UINT64_T_FMT
                " connections with %u and reason %s%s; filter %s",
                r->user, apr_uint64_t(found.closed), unsigned(order.code),
                text(order.reason).c_str(), found.incomplete ? ", not all that there may be" : "",
                text(order.filter).c_str());
}

int close(request_rec* r) {
  if (r->method_number != M_POST) {
    apr_table_setn(r->headers_out, "Allow", "POST");
    return refuse(r, HTTP_METHOD_NOT_ALLOWED, "connections are closed with POST");
  }
  if (const char* why = why_no_admin(r)) return refuse(r, HTTP_FORBIDDEN, why);
  if (!is_json(r))
    return refuse(r, HTTP_UNSUPPORTED_MEDIA_TYPE, "the Content-Type is not application/json");
  if (!read_query(r).empty()) throw BadOrder{"?close is all of the query; the rest is in the body"};
  Json body = parse_body(read_body(r, kMaxBody_bytes, "the body is longer than 16 KB"));
  auto token = body.find("token");
  if (token == body.end() || !token->is_string() ||
      !is_admin_token(r, token->get_ref<const std::string&>()))
    return refuse(r, HTTP_FORBIDDEN, "the token is not valid; ?connections gives a new one");
  Order order = closing_of(body);
  Found found = ask_children(order);
  log_closed(r, order, found);
  return send_status(r, HTTP_OK, kType,
                     "{\"closed\":" + std::to_string(found.closed) + "," + about(found));
}

}  // namespace

int serve_admin(request_rec* r) {
  try {
    return std::string_view(r->args).starts_with("close") ? close(r) : list(r);
  } catch (const BadOrder& bad) {
    return refuse(r, HTTP_BAD_REQUEST, bad.text);
  } catch (const Refused& refused) {
    if (refused.status == AP_FILTER_ERROR) return AP_FILTER_ERROR;  // it has answered
    return refuse(r, refused.status, refused.reason);
  }
}

}  // namespace mws
#else
namespace mws {

int serve_admin(request_rec* r) {
  return send_status(r, HTTP_NOT_IMPLEMENTED, "text/plain",
                     "mod_websocket was built without nlohmann/json, which this needs.\n");
}

}  // namespace mws
#endif
