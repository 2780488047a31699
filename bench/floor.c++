// The floor: what echoing costs when nothing is done about it. An epoll loop that answers every
// opening handshake with the same 101 and every BYTES-long masked frame with the same reply,
// without looking at a byte. What a server takes beyond it is the price of the protocol and of its
// design.
//
//   floor PORT BYTES [CERT KEY]     one thread, on 127.0.0.1; with CERT and KEY (PEM) over TLS
//   floor fanout PORT BYTES         whatever is read is a frame, and the reply goes to all clients
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "bench/gathering_bio.h"
#include "src/protocol/frame.h"

namespace {

struct FreeSsl {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
};

struct Client {
  bool open = false;
  size_t in_frame = 0;  // bytes of an incomplete frame
  size_t owed = 0;      // bytes of plain echoes that the socket did not take
  std::string unsent;   // and of anything else, as it goes there
  std::unique_ptr<SSL, FreeSsl> tls;
};

std::string replies;  // as many whole replies as fit
size_t reply_bytes, frame_bytes, replies_held;
std::string records;  // of TLS, not sent yet; empty between events
int epoll;
bool fans_out;
std::unordered_map<int, Client> clients;

[[noreturn]] void fail(const char* what) {
  perror(what);
  ERR_print_errors_fp(stderr);
  exit(1);
}

void watch(int descriptor, uint32_t events, int operation) {
  epoll_event event{};
  event.events = events;
  event.data.fd = descriptor;
  epoll_ctl(epoll, operation, descriptor, &event);
}

// --- The connection, plain or TLS ---

void send_raw(int descriptor, Client& client, const char* bytes, size_t size) {
  size_t sent = 0;
  if (client.unsent.empty()) {
    ssize_t count = send(descriptor, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    sent = count > 0 ? size_t(count) : 0;
    if (sent == size) return;
    watch(descriptor, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
  }
  client.unsent.append(bytes + sent, size - sent);
}

void send_unsent(int descriptor, Client& client) {
  ssize_t size =
      send(descriptor, client.unsent.data(), client.unsent.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (size > 0) client.unsent.erase(0, size_t(size));
  if (client.unsent.empty()) watch(descriptor, EPOLLIN, EPOLL_CTL_MOD);
}

void send_records(int descriptor, Client& client) {
  if (records.empty()) return;
  send_raw(descriptor, client, records.data(), records.size());
  records.clear();
}

void send_bytes(int descriptor, Client& client, const char* bytes, size_t size) {
  if (!client.tls) return send_raw(descriptor, client, bytes, size);
  SSL_write(client.tls.get(), bytes, int(size));
  send_records(descriptor, client);
}

// As recv(2). With TLS it shakes hands, and takes every record that came with the first.
ssize_t receive_bytes(int descriptor, Client& client, char* buffer, size_t size) {
  if (!client.tls) return recv(descriptor, buffer, size, MSG_DONTWAIT);
  size_t had = 0;
  int count = 1;
  while (count > 0 && had < size && (!had || SSL_has_pending(client.tls.get()))) {
    count = SSL_read(client.tls.get(), buffer + had, int(size - had));
    if (count > 0) had += size_t(count);
  }
  bool again = !had && SSL_get_error(client.tls.get(), count) == SSL_ERROR_WANT_READ;
  send_records(descriptor, client);
  errno = again ? EAGAIN : EPROTO;
  return had ? ssize_t(had) : -1;
}

// --- The echo ---

// Sends what is owed from where the replies lie. False when the socket takes no more.
bool pay(int descriptor, Client& client) {
  while (client.owed) {
    size_t into = (reply_bytes - client.owed % reply_bytes) % reply_bytes;
    size_t size = std::min(client.owed, replies.size() - into);
    ssize_t sent = send(descriptor, replies.data() + into, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) client.owed -= size_t(sent);
    if (sent != ssize_t(size)) return false;
  }
  return true;
}

void owe(int descriptor, Client& client, size_t size) {
  bool waiting = client.owed > 0;
  client.owed += size;
  if (!waiting && !pay(descriptor, client)) watch(descriptor, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
}

// The socket has room.
void resume(int descriptor, Client& client) {
  if (!client.owed) return send_unsent(descriptor, client);
  if (pay(descriptor, client)) watch(descriptor, EPOLLIN, EPOLL_CTL_MOD);
}

void answer(int descriptor, Client& client, size_t count) {
  if (!client.tls) return owe(descriptor, client, count * reply_bytes);
  while (count) {
    size_t now = std::min(count, replies_held);
    count -= now;
    send_bytes(descriptor, client, replies.data(), now * reply_bytes);
  }
}

// To all, unless it is a ping.
void fan_out(int descriptor, Client& client, char first_byte) {
  if (first_byte == '\x89') return send_bytes(descriptor, client, "\x8a", 2);
  for (auto& [each, to] : clients)
    if (to.open) send_bytes(each, to, replies.data(), reply_bytes);
}

// False when the client is gone.
bool receive(int descriptor, Client& client) {
  static char buffer[512 * 1024];
  ssize_t size = receive_bytes(descriptor, client, buffer, sizeof buffer);
  if (size <= 0) return size < 0 && errno == EAGAIN;
  if (!client.open) {
    client.open = true;
    constexpr std::string_view switching =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    send_bytes(descriptor, client, switching.data(), switching.size());
    return true;
  }
  if (fans_out) {
    fan_out(descriptor, client, buffer[0]);
    return true;
  }
  client.in_frame += size_t(size);
  answer(descriptor, client, client.in_frame / frame_bytes);
  client.in_frame %= frame_bytes;
  return true;
}

// --- Set-up ---

void prepare_replies(size_t payload) {
  uint8_t header[mws::kMaxServerHeader];
  size_t header_bytes = mws::write_server_header(header, mws::Opcode::binary, true, payload);
  reply_bytes = header_bytes + payload;
  frame_bytes = reply_bytes + 4;
  std::string reply(reinterpret_cast<char*>(header), header_bytes);
  reply.append(payload, 'x');
  do replies += reply;
  while (replies.size() < (1 << 20));
  replies_held = replies.size() / reply_bytes;
}

SSL_CTX* tls_context(const char* certificate, const char* key) {
  SSL_CTX* context = SSL_CTX_new(TLS_server_method());
  if (!context || SSL_CTX_use_certificate_chain_file(context, certificate) != 1 ||
      SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1)
    fail("floor: certificate and key");
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_read_ahead(context, 1);
  return context;
}

int listen_on(int port) {
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(uint16_t(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) ||
      listen(listener, 4096))
    fail("floor");
  return listener;
}

void accept_client(int listener, SSL_CTX* context) {
  int descriptor = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK), one = 1;
  if (descriptor < 0) return;
  setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  Client& client = clients[descriptor];
  if (context) {
    client.tls.reset(SSL_new(context));
    SSL_set_bio(client.tls.get(), BIO_new_socket(descriptor, BIO_NOCLOSE),
                bench::make_gathering_bio(&records));
    SSL_set_accept_state(client.tls.get());
  }
  watch(descriptor, EPOLLIN, EPOLL_CTL_ADD);
}

}  // namespace

int main(int argc, char** argv) {
  fans_out = argc == 4 && std::string_view(argv[1]) == "fanout";
  if (fans_out) argc--, argv++;
  if (argc != 3 && argc != 5) {
    fprintf(stderr, "usage: floor PORT BYTES [CERT KEY]\n       floor fanout PORT BYTES\n");
    return 2;
  }
  prepare_replies(strtoul(argv[2], nullptr, 10));
  SSL_CTX* context = argc == 5 ? tls_context(argv[3], argv[4]) : nullptr;
  int listener = listen_on(atoi(argv[1]));
  epoll = epoll_create1(0);
  watch(listener, EPOLLIN, EPOLL_CTL_ADD);
  for (;;) {
    epoll_event events[512];
    int count = epoll_wait(epoll, events, 512, -1);
    for (int i = 0; i < count; i++) {
      int descriptor = events[i].data.fd;
      if (descriptor == listener) {
        accept_client(listener, context);
        continue;
      }
      Client& client = clients[descriptor];
      if (events[i].events & EPOLLOUT) resume(descriptor, client);
      if ((events[i].events & ~uint32_t(EPOLLOUT)) && !receive(descriptor, client)) {
        clients.erase(descriptor);
        close(descriptor);
        ERR_clear_error();  // or it is taken for the next connection's
      }
    }
  }
}
