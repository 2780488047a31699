// What the tests of handlers share: the shared objects made for them, a log that remembers, and a
// request.
#pragma once
#include <dlfcn.h>

#include <algorithm>
#include <map>
#include <mutex>

#include "src/handler/handler.h"
#include "tests/unit/engine_support.h"

namespace mws::test {

inline std::string object(const std::string& name) {
  return TEST_BUILD_DIR "/tests/handlers/" + name + ".so";
}

inline bool is_in_memory(const std::string& path) {
  void* found = dlopen(path.c_str(), RTLD_NOW | RTLD_NOLOAD);
  if (found) dlclose(found);
  return found;
}

// Lines without the path in front of them: "info: open".
class Lines final : public LogSink {
 public:
  std::vector<std::string> all;

  void write(LogLevel level, std::string_view line) noexcept override {
    static const char* const levels[] = {"error: ", "warning: ", "notice: ", "info: ", "debug: "};
    size_t path = line.find(".so: ");
    EXPECT_NE(path, line.npos) << line;
    std::lock_guard hold(lock_);
    all.push_back(levels[size_t(level)] + std::string(line.substr(path + 5)));
  }
  ptrdiff_t count(const std::string& line) const {
    return std::count(all.begin(), all.end(), line);
  }

 private:
  std::mutex lock_;
};

class Request final : public HandshakeRequest {
 public:
  std::map<std::string, std::string> headers;
  void each_header(void (*each)(void*, const char*, const char*), void* context) const override {
    for (const auto& [name, value] : headers) each(context, name.c_str(), value.c_str());
  }
  ws_text header(const char* name) const noexcept override {
    auto found = headers.find(name);
    return found == headers.end() ? ws_text{}
                                  : ws_text{found->second.c_str(), found->second.size()};
  }
};

inline std::string shown(ws_text text) {
  if (!text.data) return "none";
  EXPECT_EQ(text.data[text.size], 0);
  return std::string(text.data, text.size);
}

using Params = std::map<std::string, std::string>;

inline std::unique_ptr<Handler> configured(const std::string& name, LogSink& log,
                                           Params params = {},
                                           const std::string& symbol = kDefaultSymbol,
                                           const std::string& location = "", int workers = -1) {
  auto library = Library::load(object(name), symbol, log);
  if (!library) {
    ADD_FAILURE() << library.reason();
    return nullptr;
  }
  auto handler = Handler::configure(*library, {std::move(params), location, workers});
  if (!handler) {
    ADD_FAILURE() << handler.reason();
    return nullptr;
  }
  return std::move(*handler);
}

// One connection to a handler: what the client sends, one read each, and what it gets.
inline Events talk(Handler& handler, const std::vector<std::string>& sent,
                   const Request& request = {}) {
  Client client;
  behave(client);
  for (const std::string& each : sent) client.sends(each);
  Loop loop(4096);
  loop.any_thread_adopt(std::make_unique<Connection>(client.transport(), handler,
                                                     SessionSettings{.streams = handler.streams()},
                                                     handler.attach(request)),
                        {});
  run(loop);
  EXPECT_TRUE(client.destroyed);
  return client.frames();
}

}  // namespace mws::test
