// A WebSocket server as the load sees it: opening handshakes and plain requests. One thread; what
// goes wrong ends the program.
#pragma once
#include <sys/resource.h>

#include <algorithm>
#include <string>
#include <vector>

#include "bench/link.h"

namespace bench {

// As many as the system gives.
inline void allow_descriptors() {
  rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

// Certificates are not verified.
inline SSL_CTX* make_tls_context() {
  SSL_CTX* context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_read_ahead(context, 1);
  return context;
}

struct Target {
  int port;
  const char* path;
  SSL_CTX* tls;      // null for plain TCP
  size_t children;   // of the server, which share the connections
  size_t first = 0;  // how many are open in other processes

  Link connect(size_t number) const { return Link(port, first + number, tls); }

  std::string request(const char* headers = "") const {
    return std::string("GET ") + path + " HTTP/1.1\r\nHost: localhost\r\n" + headers + "\r\n";
  }

  void ask(Link& link, const std::string& headers) const {
    link.send_all(request(("Upgrade: websocket\r\nConnection: Upgrade\r\n"
                           "Sec-WebSocket-Version: 13\r\n"
                           "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
                           headers)
                              .c_str()));
  }

  void await_open(Link& link, const std::string& headers) const {
    std::string answer = receive_headers(link, "HTTP/1.1 101 ");
    if (!headers.empty() && answer.find("permessage-deflate") == answer.npos)
      fail("no compression");
  }

  void open(Link& link) const {
    ask(link, "");
    await_open(link, "");
  }

  Link open_websocket(size_t number) const {
    Link link = connect(number);
    open(link);
    return link;
  }

  std::vector<Link> open_many(size_t connections, const std::string& headers = "") const {
    // More than one child has threads for.
    const size_t at_once = children > 1 ? 64 : 1;
    std::vector<Link> open;
    open.reserve(connections);
    while (open.size() < connections) {
      size_t from = open.size(), to = std::min(connections, from + at_once);
      for (size_t i = from; i < to; i++) open.push_back(connect(i));
      for (size_t i = from; i < to; i++) ask(open[i], headers);
      for (size_t i = from; i < to; i++) await_open(open[i], headers);
    }
    return open;
  }

  // A response without a body.
  void get_empty(Link& link) const {
    link.send_all(request());
    std::string answer = receive_headers(link, "HTTP/1.1 200 ");
    if (answer.find("\r\nContent-Length: 0\r\n") == answer.npos) fail("not an empty file");
  }

 private:
  static std::string receive_headers(Link& link, const char* status) {
    std::string answer;
    for (char byte; !answer.ends_with("\r\n\r\n"); answer += byte) link.receive_all(&byte, 1);
    if (!answer.starts_with(status)) fail("refused: %.60s", answer.c_str());
    return answer;
  }
};

}  // namespace bench
