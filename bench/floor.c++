// The floor: what echoing costs when nothing is done about it. An epoll loop that answers every
// opening handshake with the same 101 and every BYTES-long masked frame with the same reply,
// without looking at a byte. What a server takes beyond it is the price of the protocol and of its
// design.
//
//   floor PORT BYTES     one thread, on 127.0.0.1
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <unordered_map>

#include "src/protocol/frame.h"

namespace {

struct Client {
  bool open = false;
  size_t in_frame = 0;  // bytes of an incomplete frame
  std::string unsent;
};

std::string replies;  // as many whole replies as fit
size_t reply_bytes, frame_bytes, replies_held;
int epoll;

void watch(int descriptor, uint32_t events, int operation) {
  epoll_event event{};
  event.events = events;
  event.data.fd = descriptor;
  epoll_ctl(epoll, operation, descriptor, &event);
}

void answer(int descriptor, Client& client, size_t count) {
  while (count) {
    size_t now = std::min(count, replies_held);
    count -= now;
    size_t bytes = now * reply_bytes, sent = 0;
    if (client.unsent.empty()) {
      ssize_t size = send(descriptor, replies.data(), bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
      sent = size > 0 ? size_t(size) : 0;
      if (sent == bytes) continue;
      watch(descriptor, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
    }
    client.unsent.append(replies, sent, bytes - sent);
  }
}

void send_unsent(int descriptor, Client& client) {
  ssize_t size =
      send(descriptor, client.unsent.data(), client.unsent.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (size > 0) client.unsent.erase(0, size_t(size));
  if (client.unsent.empty()) watch(descriptor, EPOLLIN, EPOLL_CTL_MOD);
}

// False when the client is gone.
bool receive(int descriptor, Client& client) {
  static char buffer[512 * 1024];
  ssize_t size = recv(descriptor, buffer, sizeof buffer, MSG_DONTWAIT);
  if (size <= 0) return size < 0 && errno == EAGAIN;
  if (!client.open) {
    client.open = true;
    constexpr std::string_view switching =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    return send(descriptor, switching.data(), switching.size(), MSG_NOSIGNAL) > 0;
  }
  client.in_frame += size_t(size);
  answer(descriptor, client, client.in_frame / frame_bytes);
  client.in_frame %= frame_bytes;
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: floor PORT BYTES\n");
    return 2;
  }
  size_t payload = strtoul(argv[2], nullptr, 10);
  uint8_t header[mws::kMaxServerHeader];
  size_t header_bytes = mws::write_server_header(header, mws::Opcode::binary, true, payload);
  reply_bytes = header_bytes + payload;
  frame_bytes = reply_bytes + 4;
  std::string reply(reinterpret_cast<char*>(header), header_bytes);
  reply.append(payload, 'x');
  do replies += reply;
  while (replies.size() < (1 << 20));
  replies_held = replies.size() / reply_bytes;

  int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(uint16_t(atoi(argv[1])));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) ||
      listen(listener, 4096)) {
    perror("floor");
    return 1;
  }
  epoll = epoll_create1(0);
  watch(listener, EPOLLIN, EPOLL_CTL_ADD);
  std::unordered_map<int, Client> clients;
  for (;;) {
    epoll_event events[512];
    int count = epoll_wait(epoll, events, 512, -1);
    for (int i = 0; i < count; i++) {
      int descriptor = events[i].data.fd;
      if (descriptor == listener) {
        int accepted = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK);
        if (accepted < 0) continue;
        setsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        clients[accepted];
        watch(accepted, EPOLLIN, EPOLL_CTL_ADD);
        continue;
      }
      Client& client = clients[descriptor];
      if (events[i].events & EPOLLOUT) send_unsent(descriptor, client);
      if ((events[i].events & ~uint32_t(EPOLLOUT)) && !receive(descriptor, client)) {
        close(descriptor);
        clients.erase(descriptor);
      }
    }
  }
}
