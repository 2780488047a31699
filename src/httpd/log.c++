#include "src/httpd/log.h"

#include "src/httpd/module.h"

#include <http_main.h>

namespace mws {

namespace {

class ServerLog final : public LogSink {
 public:
  void write(LogLevel level, std::string_view line) noexcept override {
    constexpr int levels[] = {APLOG_ERR, APLOG_WARNING, APLOG_NOTICE, APLOG_INFO, APLOG_DEBUG};
    ap_log_error(APLOG_MARK, levels[int(level)], 0, ap_server_conf, "%.*s", int(line.size()),
                 line.data());
  }
};

}  // namespace

LogSink& server_log() {
  static ServerLog log;
  return log;
}

}  // namespace mws
