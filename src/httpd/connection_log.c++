#include "src/httpd/connection_log.h"

#include <apr_portable.h>
#include <apr_strings.h>
#include <fcntl.h>
#include <http_core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <new>

#include "src/base/log_limit.h"
#include "src/httpd/children.h"
#include "src/httpd/log.h"
#include "src/httpd/metrics.h"
#include "src/httpd/options.h"

namespace mws {

// Lives as long as the configuration.
class ConnectionLog {
 public:
  ConnectionLog(const char* its_target, LogFields its_fields, bool starts)
      : target(its_target), fields(std::move(its_fields)), at_start(starts) {}

  void write(std::string line) const noexcept;
  void lost(const char* why) const noexcept;

  const char* const target;  // a file's path, or "|program"
  const LogFields fields;
  const bool at_start;
  int descriptor = -1;

 private:
  mutable std::atomic<bool> torn_ = false;  // a line was written in part: the disk is full
  mutable LogLimit told_;
};

namespace {

// Outlives a graceful restart, so that children which drain can go on writing to their programs.
// The name changes with what lies there.
constexpr const char* kProgramsKey = "mod_websocket-log-programs-1";

ConnectionLogChoice& choice_of(const server_rec* s) {
  return *static_cast<ConnectionLogChoice*>(
      ap_get_module_config(s->module_config, &websocket_module));
}

const char* read_fields(apr_pool_t* pool, std::string_view names, LogFields& fields) {
  fields.clear();
  while (true) {
    std::string_view name = names.substr(0, names.find(','));
    auto field = log_field_of(name);
    if (!field || std::ranges::find(fields, *field) != fields.end()) {
      std::string all;
      for (LogField each : all_log_fields()) (all += all.empty() ? "" : ", ") += name_of(each);
      return apr_psprintf(pool, "WebSocketLog: fields=: \"%.*s\" is %s %s", int(name.size()),
                          name.data(), field ? "there twice; each once of" : "none of",
                          all.c_str());
    }
    fields.push_back(*field);
    if (name.size() == names.size()) return nullptr;
    names.remove_prefix(name.size() + 1);
  }
}

// What can be seen of it without opening it, which is not done for the configuration test.
const char* problem_with_file(apr_pool_t* pool, const char* path) {
  struct stat is {};
  if (!stat(path, &is))
    return S_ISDIR(is.st_mode)
               ? apr_psprintf(pool, "WebSocketLog: \"%s\" is a folder: name a file", path)
               : nullptr;
  const char* folder = ap_make_dirstr_parent(pool, path);
  if (!stat(folder, &is) || (errno != ENOENT && errno != ENOTDIR)) return nullptr;
  return apr_psprintf(pool, "WebSocketLog: \"%s\": there is no folder \"%s\": make it", path,
                      folder);
}

// Of "|program arguments"; behind "|$" a shell finds out.
const char* problem_with_program(apr_pool_t* pool, const char* command) {
  const char* program = command + (command[1] == '|' ? 2 : 1);
  if (*program == '$') return nullptr;
  char** words = nullptr;
  if (apr_tokenize_to_argv(program, &words, pool) != APR_SUCCESS || !words[0] || words[0][0] != '/')
    return apr_psprintf(pool, "WebSocketLog: \"%s\": behind | goes a program's path, from / on",
                        command);
  if (!access(words[0], X_OK) || errno == EACCES) return nullptr;
  return apr_psprintf(pool, "WebSocketLog: \"%s\": there is no program \"%s\"", command, words[0]);
}

// The write end of its pipe; -1 where it could not be started.
int open_program(apr_pool_t* programs, const char* command) {
  void* known = nullptr;
  apr_pool_userdata_get(&known, command, programs);
  auto* pipe = static_cast<piped_log*>(known);
  if (!pipe) {
    const char* program = command + (command[1] == '|' ? 2 : 1);
    bool by_shell = *program == '$';
    pipe = ap_open_piped_log_ex(programs, program + by_shell,
                                by_shell ? APR_SHELLCMD_ENV : APR_PROGRAM_ENV);
    if (!pipe) return -1;
    apr_pool_userdata_set(pipe, command, nullptr, programs);  // it copies the key
  }
  apr_os_file_t descriptor;
  if (apr_os_file_get(&descriptor, ap_piped_log_write_fd(pipe)) != APR_SUCCESS) return -1;
  // The program has the other end; this one is shared with the children alone.
  fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK);
  fcntl(descriptor, F_SETFD, FD_CLOEXEC);
  // Room for the lines of a drain that closes thousands at once; without it some more are lost.
  fcntl(descriptor, F_SETPIPE_SZ, 1 << 20);
  return descriptor;
}

// Does not wait for who reads a FIFO.
int open_file(apr_pool_t* pconf, const char* path) {
  int descriptor =
      open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0644);
  if (descriptor < 0) return -1;
  apr_pool_cleanup_register(
      pconf, reinterpret_cast<void*>(intptr_t(descriptor)),
      [](void* held) -> apr_status_t {
        close(int(reinterpret_cast<intptr_t>(held)));
        return APR_SUCCESS;
      },
      apr_pool_cleanup_null);
  return descriptor;
}

// Where programs live. After a restart that was not graceful httpd has ended those of before.
apr_pool_t* programs_of(server_rec* s) {
  apr_pool_t* for_ever = s->process->pool;
  void* known = nullptr;
  apr_pool_userdata_get(&known, kProgramsKey, for_ever);
  auto* programs = static_cast<apr_pool_t*>(known);
  if (programs && children_alive()) return programs;
  if (programs) apr_pool_destroy(programs);
  apr_pool_create(&programs, for_ever);
  apr_pool_userdata_set(programs, kProgramsKey, nullptr, for_ever);  // it copies the key
  return programs;
}

}  // namespace

void ConnectionLog::lost(const char* why) const noexcept {
  log_lines_lost().any_thread_add();
  try {
    std::string left_out;
    if (told_.allows(left_out))
      server_log().write(LogLevel::warning, "WS711: a line of WebSocketLog \"" +
                                                std::string(target) + "\" is lost: " + why +
                                                left_out);
  } catch (const std::bad_alloc&) {
    // No memory left to log.
  }
}

// In one call, so that lines of several threads and children do not mix.
void ConnectionLog::write(std::string line) const noexcept {
  bool ends_torn = torn_.exchange(false);
  ssize_t written;
  try {
    if (ends_torn) line.insert(0, 1, '\n');
  } catch (const std::bad_alloc&) {
    // It stays joined to what was torn.
  }
  do written = ::write(descriptor, line.data(), line.size());
  while (written < 0 && errno == EINTR);
  if (written == ssize_t(line.size())) return;
  int error = written < 0 ? errno : ENOSPC;
  if (written > 0 || ends_torn) torn_ = true;
  lost(error == EAGAIN ? "it is not read fast enough" : strerror(error));
}

std::unique_ptr<HandlerRecord> record_for(request_rec* r, EndNotes* notes) {
  const ConnectionLog* log = choice_of(r->server).log;
  if (!log && !notes) return nullptr;
  auto record = std::make_unique<HandlerRecord>();
  record->log = log;
  record->notes = notes;
  const char* unique_id = log ? apr_table_get(r->subprocess_env, "UNIQUE_ID") : nullptr;
  if (unique_id) record->unique_id = unique_id;
  return record;
}

void log_start(const Connection& connection, HandlerRecord& record) noexcept {
  record.opened = apr_time_now();
  const ConnectionLog* log = record.log;
  if (!log || !log->at_start) return;
  try {
    log->write(connection_line(connection, record.unique_id, record.opened, log->fields, nullptr));
  } catch (const std::bad_alloc&) {
    log->lost("no memory");
  }
}

void log_end(const Connection& connection, const HandlerRecord& record,
             const ConnectionEnd& end) noexcept {
  const Connection::Totals& totals = connection.totals();
  if (record.notes)
    *record.notes = {true, end.code, totals.messages[Counters::received],
                     totals.messages[Counters::sent]};
  if (!record.log) return;
  try {
    record.log->write(
        connection_line(connection, record.unique_id, record.opened, record.log->fields, &end));
  } catch (const std::bad_alloc&) {
    record.log->lost("no memory");
  }
}

const char* set_connection_log(cmd_parms* cmd, void*, int argc, char* const argv[]) {
  ConnectionLogChoice& choice = choice_of(cmd->server);
  if (!argc)
    return "WebSocketLog needs a file, \"|program\" or off, and behind it, where wanted, "
           "start and fields=NAME,NAME";
  if (choice.is_set) return "WebSocketLog: this server has one already";
  choice.is_set = true;
  if (argc == 1 && !strcasecmp(argv[0], "off")) return nullptr;
  bool at_start = false;
  LogFields fields = all_log_fields();
  for (int i = 1; i < argc; i++) {
    const char* names = value_of(argv[i], "fields");
    if (!strcasecmp(argv[i], "start")) at_start = true;
    else if (!names)
      return apr_psprintf(cmd->pool, "WebSocketLog: \"%s\" is neither start nor fields=NAME,NAME",
                          argv[i]);
    else if (const char* problem = read_fields(cmd->pool, names, fields)) return problem;
  }
  bool is_program = argv[0][0] == '|';
  const char* target = is_program ? argv[0] : ap_server_root_relative(cmd->pool, argv[0]);
  if (!target) return apr_pstrcat(cmd->pool, "WebSocketLog: not a path: ", argv[0], nullptr);
  if (const char* problem = is_program ? problem_with_program(cmd->pool, target)
                                       : problem_with_file(cmd->pool, target))
    return problem;
  choice.log = pool_new<ConnectionLog>(cmd->pool, target, std::move(fields), at_start);
  return nullptr;
}

void* create_connection_log_choice(apr_pool_t* pool, server_rec*) {
  return pool_new<ConnectionLogChoice>(pool);
}

void* merge_connection_log_choice(apr_pool_t*, void* base, void* add) {
  return static_cast<ConnectionLogChoice*>(add)->is_set ? add : base;
}

bool open_connection_logs(apr_pool_t* pconf, server_rec* main_server) {
  apr_pool_t* programs = programs_of(main_server);
  for (server_rec* s = main_server; s; s = s->next) {
    ConnectionLog* log = choice_of(s).log;
    if (!log || log->descriptor >= 0) continue;  // the main server's
    errno = 0;
    log->descriptor =
        *log->target == '|' ? open_program(programs, log->target) : open_file(pconf, log->target);
    if (log->descriptor >= 0) continue;
    ap_log_error(APLOG_MARK, APLOG_STARTUP | APLOG_CRIT, 0, s,
                 "WS710: WebSocketLog: cannot open \"%s\": %s", log->target,
                 errno ? strerror(errno) : "the program does not start");
    return false;
  }
  return true;
}

}  // namespace mws
