// An opening handshake as httpd has read it: for the protocol's rules, and for a handler.
#pragma once
#include "src/handler/request.h"
#include "src/httpd/config.h"
#include "src/protocol/deflate_offer.h"
#include "src/protocol/handshake.h"

namespace mws {

// A header's value; nothing where there is none.
OptionalText header(request_rec* r, const char* name);

OpeningRequest opening_request(request_rec* r);

// Lives as long as the request.
class HttpdRequest final : public HandshakeRequest {
 public:
  HttpdRequest(request_rec* r, const LocationConfig& location, const DeflateAgreement& deflate);
  ws_text header(const char* name) const noexcept override;
  void each_header(void (*each)(void* context, const char* name, const char* value),
                   void* context) const override;

 private:
  void read_tls_facts();

  request_rec* r_;
};

}  // namespace mws
