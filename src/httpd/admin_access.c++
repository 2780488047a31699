#include "src/httpd/admin_access.h"

#include <http_core.h>
#include <http_protocol.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <cstring>
#include <ctime>

#include "src/httpd/config.h"
#include "src/httpd/control.h"
#include "src/httpd/upgrade.h"

namespace mws {

namespace {

constexpr time_t kSlot_s = 3600;

int64_t slot_now() { return time(nullptr) / kSlot_s; }

std::string token_of(const char* user, int64_t slot) {
  const ControlKeys* keys = control_keys();
  std::string said = std::to_string(slot) + " " + user;
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  if (!keys ||
      !HMAC(EVP_sha256(), keys->secret, sizeof keys->secret,
            reinterpret_cast<const unsigned char*>(said.data()), said.size(), digest, &size))
    return "";
  std::string text;
  for (unsigned i = 0; i < size; i++)
    for (int shift : {4, 0}) text += "0123456789abcdef"[digest[i] >> shift & 15];
  return text;
}

// Whatever WebSocketOrigin says there.
bool is_from_here(request_rec* r) { return origin_may_connect(r, LocationConfig()); }

}  // namespace

const char* why_no_admin(request_rec* r) {
  if (!is_required(r, location_config(r)->publish))
    return "no Require says who may use this method: the section that has SetHandler "
           "websocket-status needs one, such as \"Require user admin\"";
  if (!r->user || !*r->user || !r->ap_auth_type)
    return "httpd has not authenticated a user for this request";
  if (!is_from_here(r)) return "pages of this origin may not ask";
  return nullptr;
}

std::string admin_token(request_rec* r) { return token_of(r->user, slot_now()); }

bool is_admin_token(request_rec* r, std::string_view token) {
  bool is_one = false;
  for (int64_t slot : {slot_now(), slot_now() - 1}) {
    std::string valid = token_of(r->user, slot);
    is_one |= !valid.empty() && token.size() == valid.size() &&
              !CRYPTO_memcmp(token.data(), valid.data(), valid.size());
  }
  return is_one;
}

}  // namespace mws
