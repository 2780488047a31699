// The server's side of one WebSocket after its opening handshake, RFC 6455 §5 to §8 and, where it
// was agreed on, permessage-deflate (RFC 7692 §6), as a state machine: bytes in, events and bytes
// out. It does no I/O and knows no time. One thread at a time.
//
// The session answers pings, answers and sends close frames, and fails the connection when the
// client breaks a rule. Who owns it delivers what it transmits, in order, and decides how long to
// wait for a client's close frame.
#pragma once
#include <cstdint>
#include <memory>
#include <string_view>

#include "src/base/bytes.h"
#include "src/protocol/deflate.h"
#include "src/protocol/deflate_offer.h"
#include "src/protocol/frame.h"
#include "src/protocol/prepared_message.h"
#include "src/protocol/rule.h"

namespace mws {

constexpr uint32_t kMaxFragments = 1 << 17;

struct SessionSettings {
  uint64_t max_message_bytes = 1 << 20;  // a compressed message counts with what it inflates to
  DeflateParameters deflate = {};
  // The client may close with codes that are reserved for future use, see may_arrive().
  bool allows_reserved_close_codes = false;
  bool streams = false;                    // messages are told in pieces, as they arrive
  uint32_t max_fragments = kMaxFragments;  // of a message that is gathered
};

class Session {
 public:
  class Host {
   public:
    // A whole message, type text or binary. The payload is writable and lives until the call
    // returns. The host may send, close or abandon the session from here, but not destroy it.
    virtual void on_message(Opcode type, MutableBytes payload) = 0;
    // The same for a message that the session has gathered: whose memory the host may take.
    virtual void on_gathered(Opcode type, Buffer& message) { on_message(type, message.bytes()); }
    // Memory for a long message, where the host has some: whoever has none takes new.
    virtual Buffer spare_buffer() { return {}; }
    // A piece of a message, in place of on_message where the session streams: what has arrived,
    // whatever the frames are. Without a last piece the message is none: it broke a rule, or either
    // side closed. The last one may be empty, no other may. What was told of a text so far is the
    // beginning of valid UTF-8, and may end inside of a character. As for a message otherwise.
    virtual void on_piece(Opcode /*type*/, MutableBytes /*piece*/, bool /*first*/, bool /*last*/) {}
    // A control frame of the client, at most 125 bytes, that live until the call returns. A ping
    // has been answered; a pong may be one that nobody asked for (§5.5.3). None comes once a close
    // frame went out.
    virtual void on_ping(Bytes) {}
    virtual void on_pong(Bytes) {}
    // Bytes for the client: a frame's header, then its payload. Both live until the call returns.
    virtual void transmit(Bytes header, Bytes payload) = 0;
    // The same for a message that was prepared, whose bytes live as long as it does.
    virtual void transmit_lasting(Bytes header, Bytes payload) { transmit(header, payload); }
    // The last event. Clean: close frames went both ways, code and reason are the client's
    // (kCloseNoCode where it gave none). Not clean: the client broke a rule; code and reason are
    // what it was told (kCloseAbnormal if the server had closed before). Nothing will be
    // transmitted or delivered after it.
    virtual void on_end(uint16_t code, std::string_view reason, bool clean, Rule broken) = 0;
    // What the sessions of this thread share. Asked only where permessage-deflate was agreed on.
    virtual DeflateShare& deflate_share() = 0;

   protected:
    ~Host() = default;
  };

  explicit Session(const SessionSettings& settings)
      : max_message_(settings.max_message_bytes),
        max_fragments_(settings.max_fragments),
        deflate_(settings.deflate),
        allows_reserved_close_codes_(settings.allows_reserved_close_codes),
        streams_(settings.streams) {}
  explicit Session(uint64_t max_message_bytes, const DeflateParameters& deflate = {})
      : Session(SessionSettings{.max_message_bytes = max_message_bytes, .deflate = deflate}) {}

  // Takes input, which is unmasked in place, and returns what it has not taken, a suffix untouched:
  // it stops between two frames, or inside of one that has not arrived whole or that it streams,
  // once so many bytes have been inflated or it was interrupted. The next call begins with that
  // suffix. What arrives after the end is dropped.
  MutableBytes receive(MutableBytes input, Host& host, uint32_t inflate_at_most = UINT32_MAX);
  // Where the next bytes of a long message may be read to, as input for the next receive(), which
  // then copies none of them; empty where there is no such place. Throws std::bad_alloc.
  MutableBytes room(Host& host);
  // From inside of an event: receive() stops behind the frame that it is at and all events of
  // that, or, where it streams, behind the piece.
  void interrupt() { inflate_left_ = 0; }

  // Sends one message in one frame, compressed if it may be and gets smaller. False, and nothing is
  // sent, once a close frame went out. Text must be UTF-8 (§5.6): the caller answers for it. Throws
  // std::bad_alloc.
  bool send(Opcode type, Bytes payload, Host& host, bool may_compress = true);
  bool send(const PreparedMessage& message, Host& host);

  // Sends one frame of a message that goes out in several (§5.4): the first has its type, the last
  // ends it. All calls of a message give the same type. It is never compressed, which each message
  // may choose anew (RFC 7692 §6). From the first frame to the last the owner sends no other
  // message and keeps it until then; control frames may lie between, and closing leaves the message
  // unfinished. False, and nothing is sent, once a close frame went out.
  bool send_fragment(Opcode type, Bytes payload, bool last, Host& host);
  bool in_fragments() const { return in_fragments_; }  // the first frame went out, not the last

  // Sends a ping (§5.5.2), or a pong that answers none (§5.5.3), with at most kMaxControlPayload
  // bytes. False, and nothing is sent, once a close frame went out.
  bool ping(Bytes payload, Host& host) { return send_control(Opcode::ping, payload, host); }
  bool pong(Bytes payload, Host& host) { return send_control(Opcode::pong, payload, host); }

  // Starts the closing handshake (§7.1.2). The code is one that may_be_sent() and the reason at
  // most kMaxCloseReason bytes of UTF-8; with kCloseNoCode the frame is empty. Messages that arrive
  // from then on are dropped. False if a close frame went out before.
  bool close(uint16_t code, std::string_view reason, Host& host);

  // No more events, whatever arrives: the connection is gone.
  void abandon();

  bool may_send() const { return state_ == State::open; }
  bool ended() const { return state_ == State::ended; }
  // What context takeover holds for this connection.
  size_t takeover_bytes() const;
  // Part of a message, or of a frame, has arrived and its end has not.
  bool in_message() const { return partial_ != nullptr; }

 private:
  enum class State : uint8_t { open, close_sent, ended };
  struct Partial;    // what a session holds only while a frame or a message is incomplete
  struct Takeover {  // with context takeover, from the first compressed message on
    std::unique_ptr<Inflater> inflater;
    std::unique_ptr<Deflater> deflater;
  };

  uint8_t* take_frame(uint8_t* at, uint8_t* end, Host& host);
  uint8_t* take_rest_of_frame(uint8_t* at, uint8_t* end, Host& host);
  ParsedHeader parse_header(Bytes input, FrameHeader& header) const;
  Rule check(const FrameHeader& header) const;
  uint64_t max_compressed() const;
  void take_whole(const FrameHeader& header, MutableBytes payload, Host& host);
  void take_whole_compressed(Opcode type, Bytes payload, Host& host);
  uint8_t* take_rest_of_header(uint8_t* at, uint8_t* end, Host& host);
  size_t take_payload(MutableBytes part, Host& host);
  MutableBytes spare(uint64_t size, Host& host);
  Rule gather(MutableBytes part, bool last, Host& host);
  Rule stream(MutableBytes part, bool last, Host& host);
  size_t stream_inflated(MutableBytes part, Host& host);
  void tell_piece(MutableBytes piece, bool last, Host& host);
  Inflater::Result inflate(Inflater& inflater, Bytes part, bool last, Buffer& out, uint64_t limit,
                           DeflateShare& share);
  Inflater& inflater_of_partial(Host& host);
  void finish_partial_frame(Host& host);
  void handle_control(Opcode opcode, Bytes payload, Host& host);
  void handle_close(Bytes payload, Host& host);
  bool send_control(Opcode opcode, Bytes payload, Host& host);
  bool send_close(Bytes payload, Host& host);
  void fail(Rule rule, Host& host);
  void transmit_frame(Opcode opcode, Bytes payload, Host& host, bool compressed = false,
                      bool fin = true);
  void transmit_deflated(Opcode type, Bytes payload, Host& host);
  Takeover& takeover();
  Inflater& own_inflater();
  Deflater& own_deflater();
  void end(uint16_t code, std::string_view reason, bool clean, Rule broken, Host& host);
  Partial& partial();

  struct PartialDeleter {
    void operator()(Partial* partial) const;
  };
  uint64_t max_message_;
  std::unique_ptr<Partial, PartialDeleter> partial_;
  std::unique_ptr<Takeover> takeover_;
  uint32_t inflate_left_ = 0;  // bytes, until receive() stops: at once with 0; UINT32_MAX: never
  uint32_t max_fragments_;
  DeflateParameters deflate_;
  bool allows_reserved_close_codes_;
  bool streams_;
  bool in_fragments_ = false;
  State state_ = State::open;
};

}  // namespace mws
