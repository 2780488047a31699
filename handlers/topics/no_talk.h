// In talk.h's place where there is no JSON library: nobody gets to speak topics.v1.
#pragma once
#include <mod_websocket/handler.h>

#include "topic.h"

namespace topics {

struct Talk {
  Talk(const Rules&, const Rules&) {}
  void open(websocket::Connection&, std::string_view, uint64_t) {}
  void message(websocket::Connection&, websocket::Message) {}
  void subscribed(websocket::Connection&, std::string_view, ws_result, uint64_t) {}
  void gap(websocket::Connection&, std::string_view) {}
};

}  // namespace topics
