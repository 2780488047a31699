// Messages that a session sends in several frames, RFC 6455 §5.4.
#include "tests/unit/protocol_support.h"

namespace mws::test {
namespace {

bool send_part(Session& session, Recorder& host, std::string_view payload, Fin fin = more,
               Opcode type = Opcode::text) {
  return session.send_fragment(type, bytes_of(payload), fin == last, host);
}

TEST(SessionFragments, GoOutAsTheFramesOfOneMessage) {
  Session session(1 << 20);
  Recorder host;
  EXPECT_FALSE(session.in_fragments());
  EXPECT_TRUE(send_part(session, host, "one "));
  EXPECT_TRUE(session.in_fragments());
  EXPECT_TRUE(send_part(session, host, ""));
  EXPECT_TRUE(send_part(session, host, "two "));
  EXPECT_TRUE(session.in_fragments());
  EXPECT_TRUE(send_part(session, host, "three", last));
  EXPECT_FALSE(session.in_fragments());
  EXPECT_EQ(host.wire, from_hex("0104 6f6e6520 0000 0004 74776f20 8005 7468726565"));
}

TEST(SessionFragments, HaveTheTypeOfTheirMessageInTheFirstOnly) {
  Session session(1 << 20);
  Recorder host;
  for (Opcode type : {Opcode::binary, Opcode::text}) {
    send_part(session, host, "a", more, type);
    send_part(session, host, "b", last, type);
  }
  EXPECT_EQ(host.events,
            (Events{"sent binary a ...", "sent ... b", "sent text a ...", "sent ... b"}));
}

TEST(SessionFragments, MayBeOne) {
  Session session(1 << 20);
  Recorder host;
  EXPECT_TRUE(send_part(session, host, "whole", last));
  EXPECT_FALSE(session.in_fragments());
  EXPECT_TRUE(session.send(Opcode::text, bytes_of("whole"), host));
  EXPECT_EQ(host.events, Events(2, "sent text whole"));
}

TEST(SessionFragments, OfEverySizeHaveTheLengthInItsShortestForm) {
  for (size_t size : {0, 125, 126, 65535, 65536}) {
    Session session(1 << 20);
    Recorder host;  // looks at the header
    std::string payload(size, 'x');
    send_part(session, host, payload);
    send_part(session, host, payload, last);
    EXPECT_EQ(host.events, (Events{"sent " + message_event(Opcode::text, payload) + " ...",
                                   joined("sent ...", payload)}));
  }
}

TEST(SessionFragments, AreNeverCompressedAndMessagesAroundThemAre) {
  for (bool takeover : {false, true}) {
    DeflateParameters deflate = kDeflate;
    deflate.server_takeover = deflate.client_takeover = takeover;
    Session session(1 << 20, deflate);
    Recorder host;
    std::string message = json(1000), event = message_event(Opcode::text, message);
    session.send(Opcode::text, bytes_of(message), host);
    send_part(session, host, message);
    send_part(session, host, message, last);
    session.send(Opcode::text, bytes_of(message), host);
    EXPECT_EQ(host.events, (Events{"sent compressed " + event, "sent " + event + " ...",
                                   joined("sent ...", message), "sent compressed " + event}));
  }
}

TEST(SessionFragments, MayHaveControlFramesBetween) {
  Session session(1 << 20);
  Recorder host;
  send_part(session, host, "a");
  session.ping(bytes_of("1"), host);
  receive(session, host, ping("2"));
  session.pong({}, host);
  send_part(session, host, "b", last);
  EXPECT_EQ(host.events,
            (Events{"sent text a ...", "sent ping 1", "sent pong 2", "sent pong", "sent ... b"}));
}

TEST(SessionFragments, MayEndWithACloseInTheMiddle) {
  for (bool client : {false, true}) {
    Session session(1 << 20);
    Recorder host;
    send_part(session, host, "a");
    if (client) receive(session, host, close_frame(1000));
    else session.close(1000, "", host);
    EXPECT_FALSE(send_part(session, host, "b", last));
    EXPECT_EQ(host.events[1], "sent close 1000");
    EXPECT_EQ(host.events.size(), client ? 3u : 2u);
  }
}

TEST(SessionFragments, AreInForceWhileTheirFrameGoesOut) {
  Session session(1 << 20);
  Recorder host;
  host.on_transmit = [&](Opcode opcode) {
    EXPECT_EQ(session.in_fragments(), opcode == Opcode::text);
    if (opcode == Opcode::text) send_part(session, host, "b", last);
  };
  send_part(session, host, "a");
  EXPECT_EQ(host.events, (Events{"sent text a ...", "sent ... b"}));
}

}  // namespace
}  // namespace mws::test
