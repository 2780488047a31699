#include "src/httpd/opening_request.h"

#include <apr_optional.h>
#include <http_protocol.h>

#include <cstring>

#include "src/httpd/connection_id.h"
#include "src/httpd/named_handlers.h"
#include "src/protocol/header_list.h"

// mod_ssl's, whose header is not always installed.
APR_DECLARE_OPTIONAL_FN(char*, ssl_var_lookup,
                        (apr_pool_t*, server_rec*, conn_rec*, request_rec*, char*));

namespace mws {

OptionalText header(request_rec* r, const char* name) {
  const char* value = apr_table_get(r->headers_in, name);
  return value ? OptionalText(value) : std::nullopt;
}

OpeningRequest opening_request(request_rec* r) {
  OpeningRequest request;
  request.method = r->method;
  request.http_major = HTTP_VERSION_MAJOR(r->proto_num);
  request.http_minor = HTTP_VERSION_MINOR(r->proto_num);
  request.over_http2 = r->connection->master != nullptr;
  OptionalText length = header(r, "Content-Length");
  request.has_body = !request.over_http2 &&
                     ((length && *length != "0") || header(r, "Transfer-Encoding").has_value());
  request.host = header(r, "Host");
  if (!request.host && r->hostname) request.host = r->hostname;
  request.upgrade = header(r, "Upgrade");
  request.connection = header(r, "Connection");
  request.key = header(r, "Sec-WebSocket-Key");
  request.version = header(r, "Sec-WebSocket-Version");
  request.subprotocols = header(r, "Sec-WebSocket-Protocol");
  request.extensions = header(r, "Sec-WebSocket-Extensions");
  return request;
}

namespace {

ws_text text_of(const char* text) { return {text, text ? strlen(text) : 0}; }

}  // namespace

HttpdRequest::HttpdRequest(request_rec* r, const LocationConfig& location,
                           const DeflateAgreement& deflate)
    : r_(r) {
  native = r;
  connection_id = next_connection_id();
  facts.set(WS_METHOD, r->method);
  facts.set(WS_URI, r->unparsed_uri);
  facts.set(WS_PATH, r->uri);
  facts.set(WS_PATH_BELOW, path_below(r, location));
  facts.set(WS_QUERY, r->args ? r->args : "");
  facts.set(WS_HOST, header("Host"));
  facts.set(WS_USER, r->user);
  facts.set(WS_AUTH_TYPE, r->ap_auth_type);
  facts.set(WS_REMOTE_ADDRESS, r->useragent_ip);
  facts.set(WS_LOCAL_ADDRESS, r->connection->local_ip);
  facts.set(WS_EXTENSIONS_OFFERED, header("Sec-WebSocket-Extensions"));
  if (deflate.parameters.agreed()) facts.set(WS_EXTENSIONS, keep(deflate.answer));
  if (!strcmp(ap_http_scheme(r), "https")) read_tls_facts();
  if (OptionalText offered = mws::header(r, "Sec-WebSocket-Protocol"))
    if (auto tokens = split_tokens(*offered))
      for (std::string_view token : *tokens) subprotocols.emplace_back(token);
}

ws_text HttpdRequest::header(const char* name) const noexcept {
  return text_of(apr_table_get(r_->headers_in, name));
}

void HttpdRequest::each_header(void (*each)(void* context, const char* name, const char* value),
                               void* context) const {
  const apr_array_header_t* lines = apr_table_elts(r_->headers_in);
  auto* entries = reinterpret_cast<const apr_table_entry_t*>(lines->elts);
  for (int i = 0; i < lines->nelts; i++)
    if (entries[i].key && entries[i].val) each(context, entries[i].key, entries[i].val);
}

void HttpdRequest::read_tls_facts() {
  auto* lookup = APR_RETRIEVE_OPTIONAL_FN(ssl_var_lookup);
  if (!lookup) return;
  constexpr std::pair<ws_fact, const char*> variables[] = {
      {WS_TLS_VERSION, "SSL_PROTOCOL"},
      {WS_TLS_CIPHER, "SSL_CIPHER"},
      {WS_TLS_SERVER_NAME, "SSL_TLS_SNI"},
      {WS_TLS_CLIENT_SUBJECT, "SSL_CLIENT_S_DN"}};
  for (auto [fact, name] : variables) {
    char* value = lookup(r_->pool, r_->server, r_->connection, r_, const_cast<char*>(name));
    if (value && *value) facts.set(fact, value);
  }
}

}  // namespace mws
