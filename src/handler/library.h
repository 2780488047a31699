// A handler's shared object in memory, and its table of callbacks as this server understands it.
#pragma once
#include <memory>
#include <string>

#include "mod_websocket/handler_abi.h"
#include "src/base/log.h"
#include "src/base/log_limit.h"
#include "src/base/result.h"
#include "src/handler/plugin.h"

namespace mws {

inline constexpr const char* kDefaultSymbol = "websocket_handler";

class Library {
 public:
  // Loads the object and checks its ABI; a failure says what is wrong with which file. While it is
  // loaded, the same object and symbol give the same library, as a handler keeps one pointer to its
  // host table. log outlives the library. One thread at a time.
  static Result<std::shared_ptr<Library>> load(const std::string& path, const std::string& symbol,
                                               LogSink& log);
  ~Library();  // unloads it; nothing of it may be in use
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

  // Callbacks that an older handler does not have are NULL; message is not.
  const ws_handler& table() const { return table_; }
  // Of what is a plugin of apache-websocket; else nullptr.
  const Plugin* plugin() const { return plugin_; }
  const std::string& path() const { return path_; }
  // The code is one of docs/messages.md, or empty for what the handler itself has to say. about
  // says of whom the line is and has a blank at its end; or it is empty.
  void log(LogLevel level, const char* code, std::string_view line,
           std::string_view about = "") const noexcept;

  // Of the handlers that use it, for the log.
  void add_location(const std::string& location);
  // A handler's mistake in calling a function of the host. Without a location, the mistake may be
  // that of any that there are. Any thread.
  void log_mistake(const std::string& location, const char* function, const char* what,
                   std::string_view about = "") noexcept;
  // The one whose code is at the address, which may be none. Any thread, while none is loaded.
  static std::shared_ptr<Library> of_code(const void* address);

 private:
  Library(std::string path, std::string symbol, LogSink& log);
  static void log_from_handler(const ws_host* host, ws_level level, const char* line) noexcept;

  struct Host {  // the host's table, from which a call finds its way back
    ws_host table;
    Library* library;
  };
  Host host_;
  std::string take(const ws_handler& given);

  ws_handler table_{};
  Plugin* plugin_ = nullptr;
  std::string path_, symbol_;
  LogSink& log_;
  void* object_ = nullptr;
  const void* base_ = nullptr;  // of its code in memory
  std::string locations_;
  LogLimit mistakes_{20, 10'000};
};

}  // namespace mws
