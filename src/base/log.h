// Where the layers below httpd send what an administrator should read.
#pragma once
#include <string_view>

namespace mws {

enum class LogLevel { error, warning, notice, info, debug };

// Any thread may call write(); the text is one line without its end and is not kept. It begins with
// a code of docs/messages.md, but for what a handler writes.
class LogSink {
 public:
  virtual ~LogSink() = default;
  virtual void write(LogLevel level, std::string_view line) noexcept = 0;
};

}  // namespace mws
