// Asking the children for their connections.
#ifdef WEBSOCKET_JSON
#include <poll.h>

#include <algorithm>
#include <new>
#include <string_view>

#include "src/base/clock.h"
#include "src/httpd/admin_order.h"
#include "src/httpd/children.h"
#include "src/httpd/control.h"
#include "src/httpd/control_io.h"
#include "src/httpd/control_socket.h"
#include "src/httpd/lifecycle.h"

namespace mws {

namespace {

constexpr size_t kMaxAnswer = 64 << 20;  // bytes, of a child
// A child waits for its loops for 1 second.
constexpr uint64_t kAnswerTimeout_ms = 2000, kReadTimeout_ms = 3000;

struct Asked {
  pid_t child;
  Descriptor socket;  // none: it could not be asked
};

// Nothing if it does not listen, or somebody else does.
Descriptor connect_to(pid_t child) {
  ControlAddress its(child);
  Descriptor to(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!to || connect(to.number(), its.address(), its.size) || process_at(to.number()) != child)
    return Descriptor();
  return to;
}

Asked ask(pid_t child, const std::string& question, const Patience& patience) {
  Descriptor to = connect_to(child);
  if (!to || !send_all(to.number(), question, patience) || shutdown(to.number(), SHUT_WR))
    return {child, Descriptor()};
  return {child, std::move(to)};
}

// Takes lines off the text.
std::string_view next_line(std::string_view& text) {
  std::string_view line = text.substr(0, text.find('\n'));
  text.remove_prefix(line.size() + 1);
  return line;
}

// False if that is no whole answer.
bool take(Found& found, std::string_view answer, size_t limit) {
  if (!answer.ends_with('\n')) return false;
  Json head = Json::parse(next_line(answer), nullptr, false);
  if (!head.is_object()) return false;
  found.total += head.value("total", uint64_t(0));
  found.closed += head.value("closed", uint64_t(0));
  found.incomplete |= head.value("incomplete", true);
  for (; !answer.empty() && found.listed < limit; found.listed++) {
    if (found.listed) found.rows += ',';
    found.rows += next_line(answer);
  }
  return true;
}

}  // namespace

// All at once: a child that does not answer takes no time from the others.
Found ask_children(const Order& order) {
  PreforkSignalsHeld held;  // their handlers end the child
  Found found;
  const auto only = Selection(order.filter).child();
  std::string question = json_of(order).dump();
  uint64_t begun_ms = monotonic_ms();
  Patience for_answers{begun_ms + kAnswerTimeout_ms}, for_all{begun_ms + kReadTimeout_ms};
  std::vector<Asked> asked;
  for (const ChildView& each : children_now())
    if (!only || each.pid == *only) asked.push_back(ask(each.pid, question, for_answers));
  for (Asked& each : asked) {
    std::optional<std::string> answer;
    if (each.socket && for_answers.await(each.socket.number(), POLLIN))
      answer = receive_all(each.socket.number(), kMaxAnswer, for_all);
    each.socket = Descriptor();
    if (!answer || !take(found, *answer, order.limit)) found.unanswered.push_back(each.child);
  }
  auto children = children_now();
  std::erase_if(found.unanswered, [&](pid_t child) {  // it has ended
    return std::ranges::find(children, child, &ChildView::pid) == children.end();
  });
  found.incomplete |= !found.unanswered.empty();
  return found;
}

}  // namespace mws
#endif
