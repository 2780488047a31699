// Other processes of the server.
#pragma once
#include <signal.h>
#include <sys/types.h>

#include <cerrno>

namespace mws {

// Nobody has this pid any more, and its end has been waited for. Any thread.
inline bool has_ended(pid_t process) { return kill(process, 0) && errno == ESRCH; }

}  // namespace mws
