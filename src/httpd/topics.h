// The topics of this server: the memory that its children share, and the hub of this child.
#pragma once
#include "src/engine/engine.h"
#include "src/httpd/module.h"

namespace mws {

// Before the children are made; the memory outlives restarts.
void make_topics(server_rec* s);
// In a child that begins and serves WebSockets. The engine starts when it is needed.
void start_topics(Engine& engine);
// In a child that ends: what has been published leaves it, as far as that goes in the time. On the
// thread that ends the child, before loops are joined; on prefork it may be in a signal handler, so
// it takes no lock and no memory.
void finish_topics(uint64_t within_ms);
// In the parent, for a child that has ended; takes no lock.
void leave_topics(pid_t child);

// Directives.
const char* set_bus(cmd_parms* cmd, void* config, int argc, char* const argv[]);
const char* set_topic_history(cmd_parms* cmd, void* config, int argc, char* const argv[]);
const char* set_max_topics(cmd_parms* cmd, void* config, const char* topics,
                           const char* subscriptions);
const char* set_max_subscriptions(cmd_parms* cmd, void* config, const char* most);

}  // namespace mws
