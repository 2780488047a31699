// A handler configured for a location: calls its callbacks, lets no exception through, and is the
// endpoint of its connections.
#pragma once
#include <map>
#include <memory>
#include <string>

#include "src/engine/connection.h"
#include "src/handler/library.h"
#include "src/handler/request.h"

struct ws_config {
  std::map<std::string, std::string> params;
};

namespace mws {

class Handler final : public Endpoint {
 public:
  static Result<std::unique_ptr<Handler>> configure(std::shared_ptr<Library> library,
                                                    std::map<std::string, std::string> params);
  ~Handler();  // calls shutdown

  // 0, with request.facts[WS_SUBPROTOCOL] set if the handler chose one, or the HTTP status to
  // reject with. Several threads at a time; may block.
  int handshake(HandshakeRequest& request) noexcept;
  std::unique_ptr<Attachment> attach(const HandshakeRequest& request) const;

  void on_open(Connection& connection) noexcept override;
  void on_message(Connection& connection, Opcode type, Bytes payload) noexcept override;
  void on_rule_broken(Connection& connection, Rule rule) noexcept override;  // logs it
  void on_close(Connection& connection, uint16_t code, std::string_view reason,
                bool clean) noexcept override;

 private:
  Handler(std::shared_ptr<Library> library, ws_config config);
  template <class Call>
  bool guarded(const char* callback, Call call) noexcept;
  template <class Call>
  void guarded(const char* callback, Connection& connection, Call call) noexcept;

  std::shared_ptr<Library> library_;
  const ws_handler& table_;
  ws_config config_;
  void* state_ = nullptr;
  bool configured_ = false;
};

}  // namespace mws
