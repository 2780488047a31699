// WebSocketLog: a line for each connection of a handler, at its end and if wanted at its start.
// What cannot be written at once is lost, counted and told of in the error log: a log never holds
// up a loop for a program that does not read.
#pragma once
#include <memory>
#include <string>

#include "src/engine/connection.h"
#include "src/httpd/connection_log_line.h"

namespace mws {

class ConnectionLog;

// Of the main server or a virtual host.
struct ConnectionLogChoice {
  ConnectionLog* log = nullptr;
  bool is_set = false;  // else the main server's holds
};

// Written to by the connection when it has ended. For the notes of its request.
struct EndNotes {
  bool ended = false;
  uint16_t code = 0;
  uint32_t received = 0, sent = 0;  // messages
};

// What the site of a handler keeps with a connection of which something is to be told.
struct HandlerRecord final : Record {
  const ConnectionLog* log = nullptr;
  EndNotes* notes = nullptr;  // outlive the connection
  apr_time_t opened = 0;
  std::string unique_id;  // mod_unique_id's
};

// Nothing where nobody wants to know; the notes are for resident connections. Throws
// std::bad_alloc.
std::unique_ptr<HandlerRecord> record_for(request_rec* r, EndNotes* notes);

// On the connection's loop.
void log_start(const Connection& connection, HandlerRecord& record) noexcept;
void log_end(const Connection& connection, const HandlerRecord& record,
             const ConnectionEnd& end) noexcept;

const char* set_connection_log(cmd_parms* cmd, void*, int argc, char* const argv[]);
void* create_connection_log_choice(apr_pool_t* pool, server_rec*);
void* merge_connection_log_choice(apr_pool_t* pool, void* base, void* add);
// Before the children are made. False if one cannot be opened, which is logged.
bool open_connection_logs(apr_pool_t* pconf, server_rec* main_server);

}  // namespace mws
