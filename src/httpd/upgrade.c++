#include "src/httpd/upgrade.h"

#include <apr_sha1.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_protocol.h>
#include <http_request.h>
#include <mod_core.h>
#include <util_filter.h>

#include <cstring>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "src/base/connection_id.h"
#include "src/base/log_limit.h"
#include "src/httpd/admission.h"
#include "src/httpd/children.h"
#include "src/httpd/connection_id.h"
#include "src/httpd/connection_log.h"
#include "src/httpd/detach.h"
#include "src/httpd/lifecycle.h"
#include "src/httpd/metrics.h"
#include "src/httpd/named_handlers.h"
#include "src/httpd/opening_request.h"
#include "src/httpd/refusals.h"
#include "src/httpd/resident.h"
#include "src/protocol/handshake.h"
#include "src/protocol/header_list.h"

namespace mws {

namespace {

int refuse(request_rec* r, int status, const char* section, const char* reason) {
  static LogLimit limit(1000, 10'000);
  std::string left_out;
  if (limit.allows(left_out))
    ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r,
                  "WS201: opening handshake refused with %d: %s%s%s%s", status, reason,
                  section ? ", RFC 6455 section " : "", section ? section : "", left_out.c_str());
  if (status == HTTP_UPGRADE_REQUIRED) {
    apr_table_setn(r->err_headers_out, "Upgrade", "websocket");
    apr_table_setn(r->err_headers_out, "Connection", "Upgrade");
    apr_table_setn(r->err_headers_out, "Sec-WebSocket-Version", "13");
    // httpd's own text for this status speaks of TLS.
    if (!ap_response_code_string(r, ap_index_of_response(status)))
      ap_custom_response(
          r, status,
          "<!DOCTYPE html><title>426 Upgrade Required</title>"
          "<h1>Upgrade Required</h1><p>This is the address of a WebSocket, version 13 "
          "of the protocol.</p>");
  }
  return status;
}

const char* accept_value(request_rec* r, const char* key) {
  // apr_sha1_base64 is meant for passwords and marks its result with their scheme.
  char hashed[64];
  std::string text = key + std::string(kAcceptGuid);
  apr_sha1_base64(text.data(), int(text.size()), hashed);
  return apr_pstrdup(r->pool, hashed + strlen(APR_SHA1PW_ID));
}

// mod_headers works in an output filter, which a 101 does not pass: its one effect is on
// headers_out.
void apply_header_directives(request_rec* r) {
  for (ap_filter_t* filter = r->output_filters; filter; filter = filter->next) {
    if (strcmp(filter->frec->name, "fixup_headers_out")) continue;
    ap_filter_t alone = *filter;
    alone.next = nullptr;
    apr_bucket_brigade* none = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    filter->frec->filter_func.out_func(&alone, none);
    apr_brigade_destroy(none);
    return;
  }
}

// Nothing where the client offers no extension that can be spoken: a 101 without
// Sec-WebSocket-Extensions declines every offer (§9.1).
DeflateAgreement agree_on_extensions(request_rec* r, const LocationConfig& location,
                                     const OpeningRequest& opening) {
  if (!opening.extensions) return {};
  auto agreed =
      agree_on_deflate(parse_extension_offers(*opening.extensions), location.deflate_settings());
  ap_log_rerror(APLOG_MARK, APLOG_DEBUG, 0, r, "WS202: extensions: %s",
                agreed ? agreed->answer.c_str() : "all declined");
  return agreed.value_or(DeflateAgreement());
}

void send_101(request_rec* r, const HandshakeRequest& request) {
  r->status = HTTP_SWITCHING_PROTOCOLS;
  r->status_line = nullptr;
  apply_header_directives(r);
  r->headers_out = apr_table_overlay(r->pool, r->err_headers_out, r->headers_out);
  apr_table_unset(r->headers_out, "Content-Length");
  apr_table_setn(r->headers_out, "Upgrade", "websocket");
  apr_table_setn(r->headers_out, "Connection", "Upgrade");
  apr_table_setn(r->headers_out, "Sec-WebSocket-Accept",
                 accept_value(r, apr_table_get(r->headers_in, "Sec-WebSocket-Key")));
  constexpr std::pair<ws_fact, const char*> answers[] = {
      {WS_SUBPROTOCOL, "Sec-WebSocket-Protocol"}, {WS_EXTENSIONS, "Sec-WebSocket-Extensions"}};
  for (auto [fact, name] : answers)
    if (ws_text text = request.facts.get(fact); text.data)
      apr_table_setn(r->headers_out, name, apr_pstrdup(r->pool, text.data));
  ap_send_interim_response(r, 1);
}

void note_end(request_rec* r, const EndNotes& end) {
  if (!end.ended) return;
  auto note = [&](const char* name, auto number) {
    apr_table_setn(r->notes, name, apr_psprintf(r->pool, "%u", unsigned(number)));
  };
  note("websocket-code", end.code);
  note("websocket-received", end.received);
  note("websocket-sent", end.sent);
}

// Until the connection's end, which the notes tell of.
int stay_resident(request_rec* r, std::unique_ptr<Loop> loop,
                  std::unique_ptr<Connection> connection, const EndNotes& notes) {
  prepare_residence(r);
  loop->any_thread_adopt(std::move(connection), {});
  // Told to stop, httpd would wait for a client that goes on sending.
  if (run_resident(*loop)) r->connection->aborted = 1;
  note_end(r, notes);
  return OK;
}

// True the first time in this child.
bool is_first_to_stay(const char* reason) {
  static std::mutex lock;
  static std::set<std::string> reasons;
  std::lock_guard hold(lock);
  return reasons.insert(reason).second;
}

bool stays_resident(request_rec* r, const LocationConfig& location, bool needs_thread) {
  const char* reason = must_stay(r);
  const char* chosen = nullptr;
  if (needs_thread)
    chosen = "a plugin of apache-websocket may need it (WebSocketDetach on says that it does not)";
  else if (location.detach == 0 || r->connection->master) chosen = "WebSocketDetach off";
  if (!reason && !chosen) return false;
  // What nobody asked for is said once in a child.
  int level = chosen || !is_first_to_stay(reason) ? APLOG_DEBUG : APLOG_NOTICE;
  ap_log_rerror(APLOG_MARK, level, 0, r, "WS203: connection stays on its thread: %s",
                reason ? reason : chosen);
  return true;
}

int refuse_for_room(request_rec* r, const NoRoom& reached) {
  tell_no_room(r, reached);
  apr_table_setn(r->err_headers_out, "Retry-After",
                 apr_psprintf(r->pool, "%u", reached.retry_after_s));
  return refuse(r, reached.status, nullptr, "a limit is reached");
}

// The handler's answer to a client that it does not want.
int reject(request_rec* r, int status, const HandshakeRequest& request) {
  // httpd would answer 500 for a status that it has no name for.
  if (status != HTTP_INTERNAL_SERVER_ERROR &&
      ap_index_of_response(status) == ap_index_of_response(HTTP_INTERNAL_SERVER_ERROR))
    r->status_line = apr_psprintf(r->pool, "%d Refused", status);
  refuse(r, status, nullptr, "by the handler");
  if (request.content_type.empty()) return status;
  r->status = status;
  ap_set_content_type(r, apr_pstrdup(r->pool, request.content_type.c_str()));
  ap_set_content_length(r, apr_off_t(request.body.size()));
  ap_rwrite(request.body.data(), int(request.body.size()), r);
  return OK;
}

// The note is for the access log, which is written at once where the connection is detached.
void note_id(request_rec* r, const HandshakeRequest& request) {
  const char* id = apr_pstrdup(r->pool, id_text(request.connection_id).data());
  apr_table_setn(r->notes, kIdNote, id);
  ap_log_rerror(APLOG_MARK, APLOG_DEBUG, 0, r, "WS207: becomes connection %s", id);
}

// What is looked at before the handler is asked: 0, or what the request is refused with.
int check_opening(request_rec* r, const LocationConfig& location, const OpeningRequest& opening) {
  unsigned site = site_number_for(r, location);
  HandshakeVerdict verdict = judge(opening);
  if (verdict.status != 101) {
    count_refused(site, Refusal::request);
    return refuse(r, verdict.status, verdict.section, verdict.reason);
  }
  if (origin_may_connect(r, location)) return 0;
  const char* origin = apr_table_get(r->headers_in, "Origin");
  count_refused(site, Refusal::origin);
  return refuse(r, HTTP_FORBIDDEN, "10.2",
                apr_pstrcat(r->pool, "origin ", origin, " may not connect here", nullptr));
}

// Answers, and hands the connection over. attach makes what the endpoint keeps with it.
template <class Attach>
int moor(request_rec* r, const LocationConfig& location, const HandshakeRequest& request,
         Endpoint& endpoint, const SessionSettings& settings, const Site& site, bool stays,
         Attach attach) {
  std::unique_ptr<Transport> transport;
  std::unique_ptr<Loop> loop;  // of its own, for a resident connection
  if (stays) {
    transport = resident_transport(r, newcomer_of(r, location));
    constexpr size_t kReceiveBytes = 64 * 1024;
    loop = std::make_unique<Loop>(kReceiveBytes, meters_for_loop(true), &child_engine().budget());
  } else {
    transport = detached_transport(r->connection, newcomer_of(r, location));
    child_engine().start();
  }
  auto connection =
      std::make_unique<Connection>(std::move(transport), endpoint, settings, attach(), site);
  EndNotes notes;
  connection->keep(request.connection_id, record_for(r, loop ? &notes : nullptr));
  note_id(r, request);
  send_101(r, request);
  if (r->connection->aborted) return OK;  // the client is gone, or never read what came before
  if (loop) return stay_resident(r, std::move(loop), std::move(connection), notes);
  detach(r, std::move(connection));
  r->eos_sent = 1;
  return OK;
}

int open_websocket(request_rec* r, const LocationConfig& location, Handler& handler) {
  OpeningRequest opening = opening_request(r);
  if (int refused = check_opening(r, location, opening)) return refused;
  DeflateAgreement deflate = agree_on_extensions(r, location, opening);
  // Threads that a plugin makes have to leave signals alone too.
  std::optional<PreforkSignalsHeld> held;
  if (handler.plugin()) held.emplace();
  HttpdRequest request(r, location, deflate);
  int status = handler.handshake(request);
  for (const auto& [name, value] : request.response_headers)
    apr_table_add(r->err_headers_out, name.c_str(), value.c_str());
  if (status) {
    count_refused(site_number_for(r, location), Refusal::handler);
    return reject(r, status, request);
  }

  if (!held) held.emplace();
  SessionSettings settings{
      .max_message_bytes = location.max_message_bytes(),
      .deflate = deflate.parameters,
      .allows_reserved_close_codes = location.reserved_close_codes > 0,
      .streams = handler.streams(),
      .max_fragments = location.connection.max_fragments.value_or(kMaxFragments)};
  return moor(r, location, request, handler, settings, site_for(r, location),
              stays_resident(r, location, handler.needs_thread()),
              [&] { return handler.attach(request); });
}

int open_internal(request_rec* r, const LocationConfig& location, Endpoint& endpoint,
                  const char* subprotocol) {
  OpeningRequest opening = opening_request(r);
  if (int refused = check_opening(r, location, opening)) return refused;
  DeflateAgreement deflate = agree_on_extensions(r, location, opening);
  HttpdRequest request(r, location, deflate);
  for (const std::string& offered : request.subprotocols)
    if (offered == subprotocol) request.facts.set(WS_SUBPROTOCOL, subprotocol);
  PreforkSignalsHeld held;
  constexpr uint64_t kMaxMessage = 4096;  // nothing is expected of these clients
  SessionSettings settings{.max_message_bytes = kMaxMessage, .deflate = deflate.parameters};
  return moor(r, location, request, endpoint, settings, site_for(r, location),
              stays_resident(r, location, false), [] { return nullptr; });
}

// open() answers the request, or throws why there is no room.
template <class Open>
int open_if_there_is_room(request_rec* r, const LocationConfig& location, Open open) {
  try {
    count_handshake(r, location.admission);
    return open();
  } catch (const NoRoom& reached) {
    count_refused(site_number_for(r, location), reached.refusal);
    return refuse_for_room(r, reached);
  } catch (const std::exception& error) {
    // No descriptor, thread or memory is left.
    tell_no_room(r, error);
    if (r->status == HTTP_SWITCHING_PROTOCOLS) {  // the client has its answer already
      r->connection->aborted = 1;
      return OK;
    }
    count_refused(site_number_for(r, location), refusal_by(error));
    apr_table_setn(r->err_headers_out, "Retry-After", "10");
    return HTTP_SERVICE_UNAVAILABLE;
  }
}

// Not so: a subrequest, and an error page of the location.
bool asks_for_one(request_rec* r) {
  OpeningRequest request;  // as far as the question goes
  request.upgrade = header(r, "Upgrade");
  return asks_for_websocket(request) && !r->main && !ap_is_HTTP_ERROR(r->status);
}

bool is_for_handler(request_rec* r) {
  const LocationConfig& location = *location_config(r);
  return asks_for_one(r) && handler_for(r, location) && !location.shows_status();
}

}  // namespace

bool origin_may_connect(request_rec* r, const LocationConfig& location) {
  OptionalText origin = header(r, "Origin"), host = header(r, "Host");
  if (!origin) return true;  // not a browser
  std::optional<Origin> own;
  if (host) own = origin_of_host(ap_http_scheme(r), *host);
  return location.origin_policy().allows(origin, own);
}

int ignore_files(request_rec* r) {
  const LocationConfig& location = *location_config(r);
  if (!is_for_handler(r) && !location.publish.publishes && !location.shows_status())
    return DECLINED;
  r->finfo.filetype = APR_UNKFILE;  // no other module knows what to do with it
  return OK;
}

int upgrade(request_rec* r) {
  if (!is_for_handler(r)) return DECLINED;
  // A rule of mod_rewrite in a directory's configuration sends the request elsewhere.
  if (r->handler && !strcmp(r->handler, "redirect-handler")) return DECLINED;
  const LocationConfig& location = *location_config(r);
  return open_if_there_is_room(
      r, location, [&] { return open_websocket(r, location, *handler_for(r, location)); });
}

bool is_for_internal_websocket(request_rec* r) { return asks_for_one(r); }

int open_internal_websocket(request_rec* r, Endpoint& endpoint, const char* subprotocol) {
  const LocationConfig& location = *location_config(r);
  return open_if_there_is_room(r, location,
                               [&] { return open_internal(r, location, endpoint, subprotocol); });
}

int answer_plain_request(request_rec* r) {
  const LocationConfig& location = *location_config(r);
  if (!handler_for(r, location) || location.shows_status() || r->main) return DECLINED;
  bool something_is_there = r->finfo.filetype != APR_NOFILE || r->proxyreq;
  if (something_is_there || (r->method_number != M_GET)) return DECLINED;
  return refuse(r, HTTP_UPGRADE_REQUIRED, nullptr, "a plain request where only a WebSocket is");
}

}  // namespace mws
