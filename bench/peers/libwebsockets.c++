// An echo with libwebsockets: libwebsockets PORT; without it prints the version. Its own loop by
// poll(), one thread, no compression.
#include <libwebsockets.h>
#include <malloc.h>

#include <cstdio>
#include <cstdlib>
#include <list>
#include <new>
#include <string>
#include <utility>

namespace {

constexpr size_t kBuffer = 65536;  // read at once

// What a connection has between two calls.
struct Session {
  std::string arriving;
  std::list<std::string> replies;  // each behind LWS_PRE bytes for the header
};

void receive(lws* connection, Session& session, const char* bytes, size_t size) {
  if (session.arriving.empty()) session.arriving.resize(LWS_PRE);
  session.arriving.append(bytes, size);
  if (!lws_is_final_fragment(connection) || lws_remaining_packet_payload(connection)) return;
  session.replies.push_back(std::move(session.arriving));
  session.arriving = {};
  lws_callback_on_writable(connection);
}

// One after the other for as long as the socket takes them.
int send(lws* connection, Session& session) {
  while (!session.replies.empty()) {
    std::string& reply = session.replies.front();
    auto* payload = reinterpret_cast<unsigned char*>(reply.data()) + LWS_PRE;
    if (lws_write(connection, payload, reply.size() - LWS_PRE, LWS_WRITE_BINARY) < 0) return -1;
    session.replies.pop_front();
    if (session.replies.empty() || !lws_send_pipe_choked(connection)) continue;
    lws_callback_on_writable(connection);
    break;
  }
  return 0;
}

int callback(lws* connection, lws_callback_reasons reason, void* user, void* bytes, size_t size) {
  auto* session = static_cast<Session*>(user);
  switch (reason) {
    case LWS_CALLBACK_ESTABLISHED: new (session) Session; return 0;
    case LWS_CALLBACK_RECEIVE:
      receive(connection, *session, static_cast<const char*>(bytes), size);
      return 0;
    case LWS_CALLBACK_SERVER_WRITEABLE: return send(connection, *session);
    case LWS_CALLBACK_CLOSED: session->~Session(); return 0;
    default: return lws_callback_http_dummy(connection, reason, user, bytes, size);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    puts(lws_get_library_version());
    return 2;
  }
  static const lws_protocols protocols[] = {
      {"echo", callback, sizeof(Session), kBuffer, 0, nullptr, 0}, {}};
  mallopt(M_TRIM_THRESHOLD, 64 << 20);  // or large replies give back memory and take it again
  lws_set_log_level(LLL_ERR, nullptr);
  lws_context_creation_info info{};
  info.port = atoi(argv[1]);
  info.iface = "127.0.0.1";
  info.protocols = protocols;
  info.pt_serv_buf_size = kBuffer;
  lws_context* context = lws_create_context(&info);
  if (!context) return 1;
  while (lws_service(context, 0) >= 0) {
  }
  lws_context_destroy(context);
}
