// What interrupt() leaves, and that nothing gets lost by it. That every event may interrupt without
// changing the outcome is checked by outcome_of(), and so with nearly every stream of these tests.
#include "tests/unit/protocol_support.h"

namespace mws::test {
namespace {

// What the session leaves of the stream when every event interrupts it.
std::string left_of(Session& session, Recorder& host, std::string stream) {
  host.interrupts = &session;
  MutableBytes input(reinterpret_cast<uint8_t*>(stream.data()), stream.size());
  return std::string(text_of(session.receive(input, host)));
}

TEST(SessionInterrupt, StopsBehindTheFrameOfTheEvent) {
  std::string compressed = client_frame(0xc1, deflated("Hello"));
  std::string behind = text("behind") + ping("behind");
  for (const std::string& frame :
       {text("hello"), binary(""), ping("are you there"), pong("unasked"), compressed}) {
    Session session(1 << 20, kDeflate);
    Recorder host;
    EXPECT_EQ(left_of(session, host, frame + behind), behind) << readable(frame);
  }
}

TEST(SessionInterrupt, StopsBehindTheEndOfAFrameThatCameInParts) {
  std::string behind = text("behind");
  for (const std::string& stream :
       {text("hello"), ping("are you there"), pong("unasked"), text("a", more) + continuation("b"),
        client_frame(0xc1, deflated("Hello"))})
    for (size_t cut = 1; cut < stream.size(); cut++) {
      Session session(1 << 20, kDeflate);
      Recorder host;
      receive(session, host, std::string_view(stream).substr(0, cut));
      EXPECT_EQ(left_of(session, host, stream.substr(cut) + behind), behind) << cut;
    }
}

TEST(SessionInterrupt, LetsTheOtherEventsOfAFrameHappen) {
  Session session(1 << 20);
  Recorder host;
  EXPECT_EQ(left_of(session, host, ping("a") + text("b")), text("b"));
  EXPECT_EQ(host.events, Events{"sent pong a"});
  EXPECT_EQ(host.heard, Events{"ping a"});
}

TEST(SessionInterrupt, IsOverWithTheNextCall) {
  Session session(1 << 20);
  Recorder host;
  std::string rest = left_of(session, host, text("a") + text("b") + text("c"));
  host.interrupts = nullptr;
  session.interrupt();  // outside of an event it means nothing
  EXPECT_EQ(receive(session, host, rest), 0u);
  EXPECT_EQ(host.events, (Events{"text a", "text b", "text c"}));
}

TEST(SessionInterrupt, LeavesNothingOnceTheSessionHasEnded) {
  for (const std::string& end : {close_frame(1000), from_hex("c180 00000000")}) {
    Session session(1 << 20);
    Recorder host;
    EXPECT_EQ(left_of(session, host, end + text("behind")), "");
    EXPECT_TRUE(session.ended());
  }
}

}  // namespace
}  // namespace mws::test
