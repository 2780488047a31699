#include "src/httpd/publish.h"

#include <apr_lib.h>
#include <apr_strings.h>
#include <http_protocol.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <optional>
#include <string>

#include "src/base/log_limit.h"
#include "src/handler/topics.h"
#include "src/httpd/config.h"
#include "src/httpd/lifecycle.h"
#include "src/httpd/named_handlers.h"
#include "src/httpd/request_body.h"
#include "src/httpd/upgrade.h"
#include "src/pubsub/await_answer.h"
#include "src/pubsub/delivery.h"

namespace mws {

namespace {

// --- Answers ---

void set_common_headers(request_rec* r, int status) {
  if (status != HTTP_OK) {
    r->status = status;
    r->status_line = nullptr;
  }
  // mod_mime has taken the end of the topic for that of a file's name.
  r->content_encoding = nullptr;
  r->content_languages = nullptr;
  apr_table_setn(r->headers_out, "Cache-Control", "no-store");
  apr_table_setn(r->headers_out, "X-Content-Type-Options", "nosniff");
}

int send_json(request_rec* r, int status, std::string json) {
  json += '\n';
  set_common_headers(r, status);
  ap_set_content_type(r, "application/json");
  ap_set_content_length(r, apr_off_t(json.size()));
  ap_rwrite(json.data(), int(json.size()), r);
  return OK;
}

// `{"topic":T`, for more to follow.
std::string about(std::string_view topic) {
  std::string json = "{\"topic\":";
  append_quoted(json, topic);
  return json;
}

std::string number(const char* name, uint64_t value) {
  return std::string(",\"") + name + "\":" + std::to_string(value);
}

// Clients can be refused as often as they like.
void log_refused(request_rec* r, const Refused& refused) {
  static LogLimit warnings(5, 10'000), others(20, 10'000);
  if (!APLOG_R_IS_LEVEL(r, refused.log_level)) return;
  std::string left_out;
  if ((refused.log_level == APLOG_INFO ? others : warnings).allows(left_out))
    ap_log_rerror(APLOG_MARK, refused.log_level, 0, r, "WS504: publishing refused with %d: %s%s",
                  refused.status, refused.reason, left_out.c_str());
}

void log_failure(request_rec* r, const char* reason) {
  static LogLimit limit(1, 10'000);
  std::string left_out;
  if (limit.allows(left_out))
    ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r, "WS505: publishing failed: %s%s", reason,
                  left_out.c_str());
}

int refuse(request_rec* r, const Refused& refused) {
  log_refused(r, refused);
  std::string json = "{\"error\":";
  // How to open it is for who reads the log.
  bool is_closed = refused.log_level != APLOG_INFO;
  append_quoted(json,
                is_closed ? "publishing is not open here; the error log says why" : refused.reason);
  return send_json(r, refused.status, json + "}");
}

// --- What is asked for ---

struct Query {
  const char* topic = nullptr;
  bool transient = false;
};

Query read_query(request_rec* r) {
  Query query;
  char* rest = nullptr;
  char* given = r->args ? apr_pstrdup(r->pool, r->args) : nullptr;
  for (char* each = given; given && (each = apr_strtok(each, "&", &rest)); each = nullptr) {
    char* value = strchr(each, '=');
    if (value) *value++ = 0;
    else value = each + strlen(each);
    if (ap_unescape_urlencoded(each) || ap_unescape_urlencoded(value))
      throw Refused{HTTP_BAD_REQUEST, "the query is not encoded as it should be"};
    bool is_topic = !strcmp(each, "topic"), is_transient = !strcmp(each, "transient");
    if ((is_topic && query.topic) || (is_transient && strcmp(value, "0") && strcmp(value, "1")))
      throw Refused{HTTP_BAD_REQUEST, "the query has one topic=, and transient=1 or 0"};
    if (is_topic) query.topic = value;
    if (is_transient) query.transient = *value == '1';
  }
  return query;
}

// A path below the section's has its own access rules, and so names the topic alone.
std::string_view topic_of(request_rec* r, const PublishAccess& access, const Query& query) {
  std::string_view below = access.prefix ? below_prefix(r->uri, access.prefix) : "";
  if (!below.empty()) below.remove_prefix(1);
  if (query.topic && !below.empty())
    throw Refused{HTTP_BAD_REQUEST, "both the path and topic= name a topic"};
  std::string_view topic = query.topic ? query.topic : below;
  if (topic.empty())
    throw Refused{HTTP_BAD_REQUEST,
                  "no topic is named: it stands in the path, or in the query as topic="};
  if (!is_topic(topic)) throw Refused{HTTP_BAD_REQUEST, "the topic is not UTF-8 of 1 to 255 bytes"};
  return topic;
}

constexpr const char* kTooBig = "the message is longer than allowed here";

// Browsers and curl say of a body that it is a form where nothing else was asked for; such a one,
// and one of which nothing is said, is text if it can be.
enum class Said { text, binary, nothing };

Said what_is_said(const char* content_type) {
  if (!content_type) return Said::nothing;
  std::string type(content_type, strcspn(content_type, "; \t"));
  for (char& each : type) each = char(apr_tolower(each));
  if (type.empty() || type == "application/x-www-form-urlencoded") return Said::nothing;
  constexpr const char* known[] = {"application/json", "application/x-ndjson", "application/xml"};
  bool is_text =
      type.starts_with("text/") || std::ranges::find(known, type) != std::end(known) ||
      (type.starts_with("application/") && (type.ends_with("+json") || type.ends_with("+xml")));
  return is_text ? Said::text : Said::binary;
}

// --- The bus ---

// Nothing if it does not answer in time, as it may while another server cannot be reached. On
// prefork signals wait meanwhile: their handlers end the child, and must not meet this thread with
// one of its locks.
template <class T, class Ask>
std::optional<T> ask_bus(Ask ask) {
  PreforkSignalsHeld held;
  return await_answer<T>(std::chrono::seconds(5), ask);
}

int send_outcome(request_rec* r, std::string json, std::optional<Bus::Outcome> outcome) {
  if (!outcome) return send_json(r, HTTP_ACCEPTED, json + ",\"queued\":true}");
  if (*outcome == Bus::Outcome::too_big) throw Refused{HTTP_REQUEST_ENTITY_TOO_LARGE, kTooBig};
  if (*outcome == Bus::Outcome::local_only)
    return send_json(r, HTTP_ACCEPTED, json + ",\"local\":true}");
  return send_json(r, HTTP_OK, json + "}");
}

int publish(request_rec* r, Bus& bus, std::string_view topic, bool transient) {
  uint64_t most = location_config(r)->max_message_bytes();
  Said said = what_is_said(apr_table_get(r->headers_in, "Content-Type"));
  std::string body = read_body(r, most, kTooBig);
  bool is_text = said != Said::binary && is_utf8(bytes_of(body));
  if (said == Said::text && !is_text)
    throw Refused{HTTP_UNSUPPORTED_MEDIA_TYPE, "the text is not UTF-8"};
  Publication publication;
  publication.topic = topic;
  publication.type = is_text ? Opcode::text : Opcode::binary;
  publication.kept = !transient;
  publication.payload = bytes_of(body);
  auto receipt = ask_bus<Bus::Receipt>([&](auto answered) {
    if (bus.any_thread_publish(publication, answered) == Bus::Outcome::too_big)
      answered(Bus::Receipt{.outcome = Bus::Outcome::too_big});
  });
  std::string json = about(topic);
  if (!receipt) return send_outcome(r, json, std::nullopt);
  json += number("id", receipt->id) + number("subscribers", receipt->subscribers);
  return send_outcome(r, json, receipt->outcome);
}

int clear(request_rec* r, Bus& bus, std::string_view topic) {
  auto outcome =
      ask_bus<Bus::Outcome>([&](auto answered) { bus.any_thread_clear(topic, answered); });
  if (outcome != Bus::Outcome::published) return send_outcome(r, about(topic), outcome);
  set_common_headers(r, HTTP_NO_CONTENT);
  return OK;
}

int tell_state(request_rec* r, Bus& bus, std::string_view topic) {
  auto state =
      ask_bus<SharedTopics::State>([&](auto answered) { bus.any_thread_state(topic, answered); });
  if (!state) throw Refused{HTTP_SERVICE_UNAVAILABLE, "what is known of the topic does not come"};
  return send_json(r, HTTP_OK,
                   about(topic) + number("subscribers", state->subscribers) +
                       number("last_id", state->last_id) + number("kept", state->kept) + "}");
}

int answer(request_rec* r) {
  const LocationConfig& location = *location_config(r);
  int method = r->method_number;
  if (method != M_GET && method != M_POST && method != M_DELETE) {
    apr_table_setn(r->headers_out, "Allow", "GET, HEAD, POST, DELETE");
    throw Refused{HTTP_METHOD_NOT_ALLOWED, "POST publishes, GET tells, DELETE clears the history"};
  }
  if (const char* why = why_closed(r, location.publish))
    throw Refused{HTTP_FORBIDDEN, why, APLOG_WARNING};
  // A page may post to anywhere.
  if (!origin_may_connect(r, location))
    throw Refused{HTTP_FORBIDDEN, "pages of this origin may not publish here"};
  Hub* hub = process_hub();
  if (!hub) throw Refused{HTTP_SERVICE_UNAVAILABLE, "the server has no memory for topics"};
  Query query = read_query(r);
  std::string_view topic = topic_of(r, location.publish, query);
  if (method == M_POST) return publish(r, hub->bus(), topic, query.transient);
  if (method == M_DELETE) return clear(r, hub->bus(), topic);
  return tell_state(r, hub->bus(), topic);
}

}  // namespace

int publish_over_http(request_rec* r) {
  if (!r->handler || strcmp(r->handler, kPublishHandler) || r->main) return DECLINED;
  try {
    return answer(r);
  } catch (const Refused& refused) {
    if (refused.status == AP_FILTER_ERROR) return AP_FILTER_ERROR;  // it has answered
    return refuse(r, refused);
  } catch (const std::exception& error) {  // no memory, threads or descriptors are left
    log_failure(r, error.what());
    return HTTP_SERVICE_UNAVAILABLE;
  }
}

}  // namespace mws
