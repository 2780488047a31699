// A way for all TLS records of one SSL_write to leave in one send: OpenSSL gives each to its BIO by
// itself.
#pragma once

#include <openssl/bio.h>

#include <string>

namespace bench {

// What OpenSSL writes is appended to RECORDS, for the caller to send.
inline BIO* make_gathering_bio(std::string* records) {
  static BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "gathering");
    BIO_meth_set_write(made, [](BIO* bio, const char* bytes, int size) {
      static_cast<std::string*>(BIO_get_data(bio))->append(bytes, size_t(size));
      return size;
    });
    BIO_meth_set_ctrl(
        made, [](BIO*, int command, long, void*) -> long { return command == BIO_CTRL_FLUSH; });
    return made;
  }();
  BIO* bio = BIO_new(method);
  BIO_set_data(bio, records);
  BIO_set_init(bio, 1);
  return bio;
}

}  // namespace bench
