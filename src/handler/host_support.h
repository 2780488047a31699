// What the functions of the host share: how they find mistakes, and what they answer.
#pragma once
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>

#include "mod_websocket/handler_abi.h"
#include "src/handler/peer.h"

// Where a function of the host was called from: in whose code. Not in a function that it calls.
#define CALLER __builtin_return_address(0)

namespace mws {

void add_connection_functions(ws_host& host);
void add_handle_functions(ws_host& host);
void add_topic_functions(ws_host& host);

// Logs a mistake and gives back the result. Without a peer, whose it is shows in the caller.
ws_result mistake(const ws_connection* peer, const void* caller, const char* function,
                  const char* what, ws_result result) noexcept;

// The connection, if the thread is in one of its callbacks. Else nullptr, and the mistake is
// logged: what the pointer points to may be long gone.
ws_connection* in_callback_of(const ws_connection* connection, const void* caller,
                              const char* function) noexcept;

const std::shared_ptr<const PreparedMessage>& message_of(const ws_buffer& buffer);

inline Bytes bytes_from(const void* data, size_t size) {
  return {static_cast<const uint8_t*>(data), size};
}

inline bool data_is_fine(const void* data, size_t size) {
  return (data || !size) && size <= PTRDIFF_MAX;
}

inline ws_result result_of(SendResult result) {
  switch (result) {
    case SendResult::sent: return WS_OK;
    case SendResult::queued: return WS_QUEUED;
    case SendResult::high_water: return WS_HIGH_WATER;
    case SendResult::dropped: return WS_LIMIT;
    case SendResult::closed: break;
  }
  return WS_CLOSED;
}

template <class Work>
ws_result or_no_memory(Work work) noexcept {
  try {
    return work();
  } catch (const std::exception&) {  // std::length_error too
    return WS_NO_MEMORY;
  }
}

template <class Work>
ws_text or_nothing(Work work) noexcept {
  try {
    return work();
  } catch (const std::exception&) {
    return {};
  }
}

// What is wrong with a message that is to be sent, but for a text that is not UTF-8; or nullptr.
const char* wrong_with(ws_type type, const void* data, size_t size, uint32_t flags);
// What is wrong with a close frame; or nullptr.
const char* wrong_with_close(uint16_t code, const char* reason, size_t reason_size);

constexpr const char* kNotUtf8 = "a text that is not UTF-8";

}  // namespace mws
