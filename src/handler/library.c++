#include "src/handler/library.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "src/handler/host.h"

namespace mws {

namespace {

std::vector<std::weak_ptr<Library>> in_use;

const void* base_of(const void* code) {
  Dl_info info;
  return dladdr(code, &info) ? info.dli_fbase : nullptr;
}

}  // namespace

Library::Library(std::string path, std::string symbol, LogSink& log)
    : host_{host_functions(), this}, path_(std::move(path)), symbol_(std::move(symbol)), log_(log) {
  host_.table.log = log_from_handler;
}

Library::~Library() {
  if (plugin_ && plugin_->destroy) {
    try {
      plugin_->destroy(plugin_);
    } catch (...) {
      log(LogLevel::error, "WS402", "exception left destroy");
    }
  }
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
  if (std::string wrong = library->take(*given); !wrong.empty())
    return Failure{path + ": " + wrong};
  library->base_ = base_of(reinterpret_cast<const void*>(function));
  in_use.push_back(library);
  return library;
}

// Empty, or what is wrong with the table.
std::string Library::take(const ws_handler& given) {
  static_assert(offsetof(Plugin, version) == offsetof(ws_handler, abi));
  if (given.abi == 0) {
    auto* plugin = reinterpret_cast<Plugin*>(const_cast<ws_handler*>(&given));
    std::string wrong = wrong_with_plugin(*plugin);
    if (!wrong.empty()) return wrong;
    plugin_ = plugin;
    table_ = plugin_callbacks();
    return "";
  }
  if (given.abi > WS_ABI_VERSION)
    return "speaks handler ABI " + std::to_string(given.abi) + ", this server 1 to " +
           std::to_string(WS_ABI_VERSION) + "; compile it against this server's headers";
  // Behind size and version all fields have the size of a pointer: one that the table holds in part
  // is not there.
  size_t size = std::min<size_t>(given.size, sizeof(ws_handler));
  memcpy(&table_, &given, size - size % sizeof(void*));
  if (table_.flags & ~uint64_t(WS_BLOCKING)) return "has a flag that this server does not know";
  if (!table_.message && !table_.fragment) return "has neither a message nor a fragment callback";
  return "";
}

void Library::log(LogLevel level, const char* code, std::string_view line,
                  std::string_view about) const noexcept {
  try {
    std::string all = code;
    if (*code) all += ": ";
    log_.write(level, all.append(about).append(path_).append(": ").append(line));
  } catch (...) {
    log_.write(level, "WS409: no memory left for a line about a handler");
  }
}

void Library::add_location(const std::string& location) {
  if (!location.empty()) locations_ += (locations_.empty() ? "" : ", ") + location;
}

void Library::log_mistake(const std::string& location, const char* function, const char* what,
                          std::string_view about) noexcept {
  try {
    std::string left_out;
    if (!mistakes_.allows(left_out)) return;
    const std::string& where = location.empty() ? locations_ : location;
    log(LogLevel::error, "WS404",
        (where.empty() ? "" : where + ": ") + function + "() refused: " + what + left_out, about);
  } catch (const std::exception&) {
    // No memory left to log.
  }
}

std::shared_ptr<Library> Library::of_code(const void* address) {
  const void* base = base_of(address);
  for (const auto& each : in_use)
    if (auto library = each.lock(); library && base && library->base_ == base) return library;
  return nullptr;
}

void Library::log_from_handler(const ws_host* host, ws_level level, const char* line) noexcept {
  static_assert(offsetof(Host, table) == 0);
  if (!host || !line) return;
  LogLevel levels[] = {LogLevel::error, LogLevel::warning, LogLevel::notice, LogLevel::info,
                       LogLevel::debug};
  size_t index = std::min(size_t(level), std::size(levels) - 1);
  reinterpret_cast<const Host*>(host)->library->log(levels[index], "", line);
}

}  // namespace mws
