// WebSockets that stay, as one of several processes of them: answers the server's pings.
//
//   crowd [--tls] PORT PATH CONNECTIONS FIRST
//       FIRST is how many the other processes have, so that each has addresses of its own. Says so
//       when all are open; then for each line of standard input each WebSocket has a message
//       echoed, which is answered with a line too. At the end of the input all are reset.
//   crowd taken PID
//       what the process PID and its descendants have taken: CPU time and memory
//
// Prints lines of key=value. A WebSocket that is lost, or an echo that does not come, is an error.

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "bench/link.h"
#include "bench/messages.h"
#include "bench/processes.h"
#include "bench/target.h"
#include "bench/watch.h"

namespace {

using namespace bench;

constexpr size_t kChildren = 4;    // of the server, as bench/scale has them
constexpr size_t kInFlight = 256;  // echoes
constexpr size_t kMessage = 16;

// Answers a ping. Whether it was something else, which has to be an echo.
bool take_frame(Link& link) {
  char frame[127];
  link.receive_all(frame, 2);
  size_t size = size_t(frame[1]);
  if (size > 125) fail("a frame that nobody asked for");
  link.receive_all(frame + 2, size);
  if (frame[0] == '\x82' && size == kMessage) return true;
  if (frame[0] != '\x89') fail("a frame with first byte %#x", frame[0] & 255);
  link.send_all(client_frame(0x8a, std::string(frame + 2, size)));
  return false;
}

size_t echo_on_each(std::vector<Link>& open) {
  std::string message = client_frame(kMessage);
  for (size_t from = 0, to; from < open.size(); from = to) {
    to = std::min(open.size(), from + kInFlight);
    for (size_t i = from; i < to; i++) open[i].send_all(message);
    for (size_t i = from; i < to; i++)
      while (!take_frame(open[i])) {
      }
  }
  return open.size();
}

void stay(std::vector<Link>& open) {
  Watch watch;
  for (size_t i = 0; i < open.size(); i++) watch.add(open[i].descriptor(), i);
  watch.add(STDIN_FILENO, open.size());
  while (true) {
    bool asked = false;
    watch.each(-1, [&](size_t number) {
      if (number == open.size()) asked = true;
      else if (take_frame(open[number])) fail("an echo that nobody asked for");
    });
    if (!asked) continue;
    char line[16];
    if (read(STDIN_FILENO, line, sizeof line) <= 0) return;
    printf("answered=%zu\n", echo_on_each(open));
    fflush(stdout);
  }
}

int crowd(const Target& target, size_t connections) {
  std::vector<Link> open = target.open_many(connections);
  printf("connections=%zu cipher=%s\n", open.size(), open[0].cipher().c_str());
  fflush(stdout);
  stay(open);
  for (Link& link : open) link.reset();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  allow_descriptors();

  bool tls = argc > 1 && std::string_view(argv[1]) == "--tls";
  std::vector<const char*> words(argv + 1 + tls, argv + argc);
  if (words.size() == 2 && std::string_view(words[0]) == "taken") {
    Processes server(atoi(words[1]));
    printf("cpu_s=%.6f memory_kb=%.0f\n", server.cpu_s(), server.memory_kb());
    return 0;
  }
  if (words.size() == 4) {
    std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context(tls ? make_tls_context() : nullptr,
                                                         SSL_CTX_free);
    return crowd(
        {atoi(words[0]), words[1], context.get(), kChildren, strtoul(words[3], nullptr, 10)},
        std::max(strtoul(words[2], nullptr, 10), 1ul));
  }
  fprintf(stderr,
          "usage: crowd [--tls] PORT PATH CONNECTIONS FIRST\n"
          "       crowd taken PID\n");
  return 2;
}
