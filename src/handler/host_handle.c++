// The functions of the host for every thread: those that take a handle or a buffer.
#include <atomic>
#include <memory>

#include "src/handler/host_support.h"
#include "src/handler/library.h"
#include "src/protocol/close_code.h"

// Counts the handlers' references; connections share what it points to.
struct ws_buffer {
  std::shared_ptr<const mws::PreparedMessage> message;
  mutable std::atomic<uint32_t> references = 1;
};

namespace mws {

const std::shared_ptr<const PreparedMessage>& message_of(const ws_buffer& buffer) {
  return buffer.message;
}

namespace {

// Calls a handler's function that is no callback of a connection's.
template <class Function, class... Arguments>
void call_guarded(const char* what, Function function, Arguments... arguments) noexcept {
  try {
    function(arguments...);
  } catch (...) {
    if (auto library = Library::of_code(reinterpret_cast<const void*>(function)))
      library->log(LogLevel::error, "WS403", what);
  }
}

// What is wrong with a message; or nullptr.
const char* wrong_with_message(ws_type type, const void* data, size_t size, uint32_t flags) {
  const char* wrong = wrong_with(type, data, size, flags);
  if (!wrong && type == WS_TEXT && !is_utf8(bytes_from(data, size))) wrong = kNotUtf8;
  return wrong;
}

ws_result handle_send(ws_handle handle, ws_type type, const void* data, size_t size,
                      uint32_t flags) noexcept {
  if (const char* wrong = wrong_with_message(type, data, size, flags))
    return mistake(nullptr, CALLER, "handle_send", wrong, WS_INVALID);
  auto remote = Remote::find(handle.id);
  if (!remote || !remote->may_send()) return WS_CLOSED;
  return or_no_memory([&] {
    return result_of(remote->any_thread_send(std::make_shared<PreparedMessage>(
        Opcode(type), bytes_from(data, size), !(flags & WS_UNCOMPRESSED))));
  });
}

ws_result handle_send_buffer(ws_handle handle, const ws_buffer* buffer) noexcept {
  if (!buffer)
    return mistake(nullptr, CALLER, "handle_send_buffer", "NULL is no buffer", WS_INVALID);
  auto remote = Remote::find(handle.id);
  if (!remote) return WS_CLOSED;
  return or_no_memory([&] { return result_of(remote->any_thread_send(buffer->message)); });
}

ws_result handle_close(ws_handle handle, uint16_t code, const char* reason,
                       size_t reason_size) noexcept {
  if (const char* wrong = wrong_with_close(code, reason, reason_size))
    return mistake(nullptr, CALLER, "handle_close", wrong, WS_INVALID);
  auto remote = Remote::find(handle.id);
  if (!remote) return WS_CLOSED;
  std::string_view text(reason_size ? reason : "", reason_size);
  return or_no_memory([&] {
    return remote->any_thread_close(code ? code : kCloseNoCode, text) ? WS_OK : WS_CLOSED;
  });
}

size_t handle_buffered_amount(ws_handle handle) noexcept {
  auto remote = Remote::find(handle.id);
  return remote ? remote->buffered_amount() : 0;
}

// Is called exactly once, be it without a connection.
class Posted {
 public:
  Posted(void (*call)(ws_connection*, void*), void* context) : call_(call), context_(context) {}
  ~Posted() {
    ws_connection* gone = nullptr;
    if (call_) call_guarded("exception left a posted call", call_, gone, context_);
  }
  Posted(const Posted&) = delete;
  Posted& operator=(const Posted&) = delete;
  void run(ws_connection& peer) { std::exchange(call_, nullptr)(&peer, context_); }
  void forget() { call_ = nullptr; }

 private:
  void (*call_)(ws_connection*, void*);
  void* context_;
};

ws_result handle_post(ws_handle handle, void (*call)(ws_connection*, void*),
                      void* context) noexcept {
  if (!call) return mistake(nullptr, CALLER, "handle_post", "NULL is no function", WS_INVALID);
  auto remote = Remote::find(handle.id);
  if (!remote) return WS_CLOSED;
  std::shared_ptr<Posted> posted;
  ws_result result = or_no_memory([&] {
    posted = std::make_shared<Posted>(call, context);
    bool done = remote->any_thread_call([posted](ws_connection& peer) { posted->run(peer); });
    return done ? WS_OK : WS_CLOSED;
  });
  if (posted && result != WS_OK) posted->forget();
  return result;
}

int handle_is_open(ws_handle handle) noexcept {
  auto remote = Remote::find(handle.id);
  return remote && remote->may_send();
}

ws_buffer* buffer(const ws_host*, ws_type type, const void* data, size_t size, uint32_t flags,
                  void (*release)(void*), void* context) noexcept {
  if (const char* wrong = wrong_with_message(type, data, size, flags)) {
    mistake(nullptr, CALLER, "buffer", wrong, WS_INVALID);
    return nullptr;
  }
  try {
    auto made = std::make_unique<ws_buffer>();
    bool may_compress = !(flags & WS_UNCOMPRESSED);
    Bytes payload = bytes_from(data, size);
    if (release) {
      auto released = [=] { call_guarded("exception left a buffer's release", release, context); };
      made->message =
          std::make_shared<PreparedMessage>(Opcode(type), payload, may_compress, released);
    } else {
      made->message = std::make_shared<PreparedMessage>(Opcode(type), payload, may_compress);
    }
    return made.release();
  } catch (const std::exception&) {
    return nullptr;
  }
}

void buffer_retain(ws_buffer* buffer) noexcept {
  if (buffer) buffer->references++;
}

void buffer_release(ws_buffer* buffer) noexcept {
  if (buffer && --buffer->references == 0) delete buffer;
}

}  // namespace

void add_handle_functions(ws_host& host) {
  host.handle_send = handle_send;
  host.handle_send_buffer = handle_send_buffer;
  host.handle_close = handle_close;
  host.handle_buffered_amount = handle_buffered_amount;
  host.handle_post = handle_post;
  host.handle_is_open = handle_is_open;
  host.buffer = buffer;
  host.buffer_retain = buffer_retain;
  host.buffer_release = buffer_release;
}

}  // namespace mws
