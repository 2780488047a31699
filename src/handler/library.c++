#include "src/handler/library.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "src/handler/host.h"

namespace mws {

namespace {
std::vector<std::weak_ptr<Library>> in_use;
}

Library::Library(std::string path, std::string symbol, LogSink& log)
    : host_{host_functions(), this}, path_(std::move(path)), symbol_(std::move(symbol)), log_(log) {
  host_.table.log = log_from_handler;
}

Library::~Library() {
  if (object_) dlclose(object_);
}

Result<std::shared_ptr<Library>> Library::load(const std::string& path, const std::string& symbol,
                                               LogSink& log) {
  std::shared_ptr<Library> library(new Library(path, symbol, log));
  library->object_ = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library->object_) return Failure{dlerror()};
  std::erase_if(in_use, [](const auto& each) { return each.expired(); });
  for (const auto& each : in_use)
    if (auto loaded = each.lock();
        loaded && loaded->object_ == library->object_ && loaded->symbol_ == symbol)
      return loaded;
  auto function = reinterpret_cast<ws_handler_function>(dlsym(library->object_, symbol.c_str()));
  if (!function) return Failure{path + ": is no handler: it exports no function " + symbol};
  const ws_handler* given = nullptr;
  try {
    given = function(&library->host_.table);
  } catch (...) {
    return Failure{path + ": " + symbol + " threw an exception"};
  }
  if (!given) return Failure{path + ": " + symbol + " returned no handler"};
  if (given->abi < 1 || given->abi > WS_ABI_VERSION)
    return Failure{path + ": speaks handler ABI " + std::to_string(given->abi) +
                   ", this server 1 to " + std::to_string(WS_ABI_VERSION) +
                   "; compile it against this server's headers"};
  // Behind size and version come pointers only: one that the table holds in part is not there.
  size_t size = std::min<size_t>(given->size, sizeof(ws_handler));
  memcpy(&library->table_, given, size - size % sizeof(void*));
  if (!library->table_.message) return Failure{path + ": has no message callback"};
  in_use.push_back(library);
  return library;
}

void Library::log(LogLevel level, std::string_view line) const noexcept {
  try {
    log_.write(level, path_ + ": " + std::string(line));
  } catch (...) {
    log_.write(level, "handler: no memory left to log");
  }
}

void Library::log_from_handler(const ws_host* host, ws_level level, const char* line) noexcept {
  static_assert(offsetof(Host, table) == 0);
  if (!host || !line) return;
  LogLevel levels[] = {LogLevel::error, LogLevel::warning, LogLevel::notice, LogLevel::info,
                       LogLevel::debug};
  size_t index = std::min(size_t(level), std::size(levels) - 1);
  reinterpret_cast<const Host*>(host)->library->log(levels[index], line);
}

}  // namespace mws
