#include "src/httpd/request_body.h"

#include <apr_buckets.h>
#include <apr_strings.h>
#include <http_protocol.h>
#include <http_request.h>
#include <util_filter.h>

#include <cstring>

namespace mws {

namespace {

void check_head(request_rec* r, uint64_t most, const char* too_big) {
  const char* encoding = apr_table_get(r->headers_in, "Content-Encoding");
  if (encoding && strcasecmp(encoding, "identity"))
    throw Refused{HTTP_UNSUPPORTED_MEDIA_TYPE, "the body must have no Content-Encoding"};
  const char* length = apr_table_get(r->headers_in, "Content-Length");
  if (length && uint64_t(apr_atoi64(length)) > most)
    throw Refused{HTTP_REQUEST_ENTITY_TOO_LARGE, too_big};
}

}  // namespace

std::string read_body(request_rec* r, uint64_t most, const char* too_big) {
  check_head(r, most, too_big);
  std::string body;
  apr_bucket_brigade* brigade = apr_brigade_create(r->pool, r->connection->bucket_alloc);
  for (bool ended = false; !ended;) {
    apr_status_t status = ap_get_brigade(r->input_filters, brigade, AP_MODE_READBYTES,
                                         APR_BLOCK_READ, HUGE_STRING_LEN);
    for (apr_bucket* each = APR_BRIGADE_FIRST(brigade);
         !status && !ended && each != APR_BRIGADE_SENTINEL(brigade); each = APR_BUCKET_NEXT(each)) {
      ended = APR_BUCKET_IS_EOS(each);
      if (APR_BUCKET_IS_METADATA(each)) continue;
      const char* data;
      apr_size_t size;
      status = apr_bucket_read(each, &data, &size, APR_BLOCK_READ);
      if (!status && size > most - body.size())
        throw Refused{HTTP_REQUEST_ENTITY_TOO_LARGE, too_big};
      if (!status) body.append(data, size);
    }
    apr_brigade_cleanup(brigade);
    if (status)
      throw Refused{ap_map_http_request_error(status, HTTP_BAD_REQUEST),
                    "the body did not come whole"};
  }
  return body;
}

}  // namespace mws
