// The bytes' way to the client: a socket, TLS on a socket, or httpd's filter chain. One thread at a
// time; no call blocks.
#pragma once
#include <sys/uio.h>

#include <cstddef>
#include <span>

#include "src/base/bytes.h"
#include "src/base/counters.h"

namespace mws {

struct IoResult {
  enum Kind {
    done,    // size bytes went through; none if only unsent ones did, or only TLS's own were read
    again,   // nothing now: wait for the descriptor
    end,     // read: the client sends no more
    failed,  // the connection is gone
  };
  Kind kind;
  size_t size = 0;
  // Read: the transport may hold bytes that the descriptor does not announce, so read again before
  // waiting for it.
  bool read_on = false;
};

class Transport {
 public:
  virtual ~Transport() = default;  // lets go of the connection at once

  // What to wait for; the same for the life of the transport.
  virtual int descriptor() const = 0;
  // Whether bytes may wait inside, from before a loop got the transport.
  virtual bool may_hold_bytes() const { return false; }
  // A read that does not say to read on has taken all that was there: the descriptor needs to tell
  // only of what comes after it.
  virtual bool reads_all() const { return false; }
  // A stream socket and no more: it may be read and written past this object, see
  // socket_transport.h, and nothing is ever unsent here.
  virtual bool is_socket() const { return false; }
  virtual Mooring mooring() const { return Mooring::plain; }
  virtual IoResult read(MutableBytes into) = 0;
  // Sends on what is unsent, then takes from the front of pieces as much as goes without waiting.
  virtual IoResult write(std::span<const iovec> pieces) = 0;
  // Bytes that were taken and that the descriptor has not: wait until it is writable, then write
  // on, be it nothing.
  size_t unsent() const { return unsent_; }
  // After the last write, with nothing unsent: tells the client that no more comes. True if its own
  // end should be awaited before the transport is destroyed, so that what was written is not lost
  // (RFC 6455 §7.1.1).
  virtual bool finish_writing() = 0;

 protected:
  size_t unsent_ = 0;
};

}  // namespace mws
