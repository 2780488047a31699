// Limits by location and by the client's address, which hold for all children together and are
// looked at before the 101: WebSocketMaxPerLocation, WebSocketMaxPerAddress,
// WebSocketHandshakeRate. Any thread; on prefork with PreforkSignalsHeld, as all of it takes locks
// but leave_….
#pragma once
#include "src/engine/open_counts.h"
#include "src/httpd/module.h"

namespace mws {

struct LocationConfig;

// Of one section. -1: not set; 0: no limit.
struct AdmissionLimits {
  int per_location = -1;           // WebSocketMaxPerLocation
  int per_address = -1;            // WebSocketMaxPerAddress
  int handshakes = -1, burst = 0;  // WebSocketHandshakeRate: per second, and at once
};
AdmissionLimits merge_admission_limits(const AdmissionLimits& base, const AdmissionLimits& add);

const char* set_max_per_location(cmd_parms* cmd, void* config, const char* number);
const char* set_max_per_address(cmd_parms* cmd, void* config, const char* number);
const char* set_handshake_rate(cmd_parms* cmd, void* config, const char* rate, const char* burst);

// Before the children are made, if there is such a limit; what is counted outlives restarts.
void make_admission_tables(server_rec* s);
// In a child that begins, and in the parent for one that has ended; the latter takes no lock.
void enter_admission_tables();
void leave_admission_tables(pid_t child);

// Throws NoRoom if the client's opening handshakes come too fast. This one counts, whatever becomes
// of it, unless it is one too many.
void count_handshake(request_rec* r, const AdmissionLimits& limits);

OpenCounts::Newcomer newcomer_of(request_rec* r, const LocationConfig& location);

// As Slot, one of the WebSockets of a location and of an address. Its 4 bytes fit into what a
// transport's alignment leaves. Throws NoRoom.
class GuestSlot {
 public:
  explicit GuestSlot(const OpenCounts::Newcomer& newcomer);
  ~GuestSlot();
  GuestSlot(const GuestSlot&) = delete;
  GuestSlot& operator=(const GuestSlot&) = delete;

 private:
  uint32_t row_ = 0;  // 0: not counted
};

}  // namespace mws
