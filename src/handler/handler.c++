#include "src/handler/handler.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "src/protocol/close_code.h"

namespace mws {

namespace {
ws_connection* abi(Connection& connection) { return reinterpret_cast<ws_connection*>(&connection); }
ws_request* abi(HandshakeRequest& request) { return reinterpret_cast<ws_request*>(&request); }
}  // namespace

Handler::Handler(std::shared_ptr<Library> library, ws_config config)
    : library_(std::move(library)), table_(library_->table()), config_(std::move(config)) {}

Handler::~Handler() {
  if (configured_ && table_.shutdown) guarded("shutdown", [&] { table_.shutdown(state_); });
}

Result<std::unique_ptr<Handler>> Handler::configure(std::shared_ptr<Library> library,
                                                    std::map<std::string, std::string> params) {
  std::unique_ptr<Handler> handler(new Handler(std::move(library), {std::move(params)}));
  if (!handler->table_.configure) {
    handler->configured_ = true;
    return handler;
  }
  char error[512] = "";
  int failed = 1;
  handler->guarded("configure", [&] {
    failed = handler->table_.configure(&handler->config_, &handler->state_, error, sizeof error);
  });
  error[sizeof error - 1] = 0;
  if (failed)
    return Failure{handler->library_->path() + ": " +
                   (*error ? error : "configure failed and does not say why")};
  handler->configured_ = true;
  return handler;
}

int Handler::handshake(HandshakeRequest& request) noexcept {
  if (!table_.handshake) return 0;
  int status = 500;
  if (!guarded("handshake", [&] { status = table_.handshake(state_, abi(request)); })) return 500;
  if (status == 0 && request.forged) {
    library_->log(LogLevel::error,
                  "handshake chose a subprotocol with a line break or another control character");
    return 500;
  }
  if (status == 0 || (status >= 400 && status <= 599)) return status;
  library_->log(LogLevel::error, "handshake returned " + std::to_string(status) +
                                     ", which is neither 0 nor a status from 400 to 599");
  return 500;
}

std::unique_ptr<Attachment> Handler::attach(const HandshakeRequest& request) const {
  return std::make_unique<HandlerAttachment>(request, table_.keep_headers);
}

void Handler::on_open(Connection& connection) noexcept {
  if (table_.open) guarded("open", connection, [&] { table_.open(state_, abi(connection)); });
}

void Handler::on_message(Connection& connection, Opcode type, Bytes payload) noexcept {
  guarded("message", connection, [&] {
    table_.message(state_, abi(connection), ws_type(type), payload.data(), payload.size());
  });
}

void Handler::on_rule_broken(Connection& connection, Rule rule) noexcept {
  const RuleText& text = describe(rule);
  ws_text client =
      static_cast<HandlerAttachment*>(connection.attachment())->fact(WS_REMOTE_ADDRESS);
  char line[256];
  snprintf(line, sizeof line, "client %s closed with %u: %s (RFC %d section %s)",
           client.data ? client.data : "unknown", unsigned(text.close_code), text.message, text.rfc,
           text.section);
  library_->log(LogLevel::info, line);
}

void Handler::on_close(Connection& connection, uint16_t code, std::string_view reason,
                       bool clean) noexcept {
  if (!table_.close) return;
  guarded("close", connection, [&] {
    table_.close(state_, abi(connection), code, reason.data(), reason.size(), clean);
  });
}

// Runs a callback. False, and a line in the log, if an exception left it.
template <class Call>
bool Handler::guarded(const char* callback, Call call) noexcept {
  try {
    call();
    return true;
  } catch (const std::exception& error) {
    library_->log(LogLevel::error, std::string("exception left ") + callback + ": " + error.what());
  } catch (...) {
    library_->log(LogLevel::error, std::string("exception left ") + callback);
  }
  return false;
}

template <class Call>
void Handler::guarded(const char* callback, Connection& connection, Call call) noexcept {
  if (!guarded(callback, call)) connection.close(kCloseInternalError, "");
}

}  // namespace mws
