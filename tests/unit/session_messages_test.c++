// What a session makes of well-formed data, pings and pongs.
#include <malloc.h>

#include "tests/unit/protocol_support.h"

namespace mws::test {
namespace {

Start echo() {
  return {.begin = [](Session& session, Recorder& host) {
    host.then = [&](Opcode type, MutableBytes payload) {
      EXPECT_TRUE(session.send(type, payload, host));
    };
  }};
}

TEST(SessionMessages, OfEverySizeAroundTheFormsOfTheLengthArriveWhole) {
  for (size_t size : {0, 1, 2, 125, 126, 127, 128, 4096, 65535, 65536, 70000}) {
    std::string payload(size, '*'), bytes(size, '\xfe');
    EXPECT_EQ(events_of(text(payload)), Events{message_event(Opcode::text, payload)}) << size;
    EXPECT_EQ(events_of(binary(bytes)), Events{message_event(Opcode::binary, bytes)}) << size;
  }
}

TEST(SessionMessages, CanBeSentBackFromInsideTheCall) {
  EXPECT_EQ(events_of(text("hello") + binary("\x01\xff") + text(""), echo()),
            (Events{"text hello", "sent text hello", "binary \\x01\\xff", "sent binary \\x01\\xff",
                    "text", "sent text"}));
}

TEST(SessionMessages, ThatAreSentGoOutInOneUnmaskedFrame) {
  for (size_t size : {0, 125, 126, 65535, 65536}) {
    Session session(1 << 20);
    Recorder host;
    std::string payload(size, 'x');
    EXPECT_TRUE(session.send(Opcode::text, bytes_of(payload), host));
    uint8_t header[kMaxServerHeader];
    size_t header_size = write_server_header(header, Opcode::text, true, size);
    EXPECT_EQ(host.wire, std::string(text_of({header, header_size})) + payload);
  }
}

TEST(SessionMessages, InReadsOfAnOddSizeArriveWhole) {
  std::string payload(65536, 'x'), stream = text(payload);
  std::vector<size_t> cuts;
  for (size_t at = 997; at < stream.size(); at += 997) cuts.push_back(at);
  EXPECT_EQ(play(stream, cuts).events, Events{message_event(Opcode::text, payload)});
}

TEST(SessionMessages, ArriveWithAnyMaskingKey) {
  for (uint32_t key : {0u, 0xffffffffu, 0x01020304u, 0x80000000u}) {
    uint8_t bytes[4];
    memcpy(bytes, &key, 4);
    std::string stream{'\x81', '\x85'};
    stream.append(reinterpret_cast<char*>(bytes), 4);
    for (int i = 0; i < 5; i++) stream += char("hello"[i] ^ bytes[i % 4]);
    EXPECT_EQ(events_of(stream), Events{"text hello"}) << key;
  }
}

TEST(SessionMessages, InFragmentsAreJoined) {
  EXPECT_EQ(events_of(text("one ", more) + continuation("two ", more) + continuation("three")),
            Events{"text one two three"});
  EXPECT_EQ(events_of(binary("\x01", more) + continuation("\xff")), Events{"binary \\x01\\xff"});
}

TEST(SessionMessages, InFragmentsFollowEachOtherWithoutMixing) {
  EXPECT_EQ(events_of(text("a", more) + continuation("b") + binary("whole") + binary("c", more) +
                      continuation("d") + text("e", more) + continuation("")),
            (Events{"text ab", "binary whole", "binary cd", "text e"}));
}

TEST(SessionMessages, InEmptyFragmentsAreJoined) {
  EXPECT_EQ(events_of(text("", more) + continuation("", more) + continuation("")), Events{"text"});
  EXPECT_EQ(events_of(text("", more) + continuation("middle", more) + continuation("")),
            Events{"text middle"});
  EXPECT_EQ(events_of(binary("", more) + continuation("") + text("")), (Events{"binary", "text"}));
}

TEST(SessionMessages, InSixtyFiveThousandFragmentsOfOneByteAreJoined) {
  constexpr size_t count = 65536;
  std::string stream = text("x", more), payload(count, 'x');
  for (size_t i = 2; i < count; i++) stream += continuation("x", more);
  stream += continuation("x");
  Events expected{message_event(Opcode::text, payload)};
  EXPECT_EQ(play(stream, {}).events, expected);
  std::vector<size_t> every(stream.size() - 1);
  for (size_t i = 0; i < every.size(); i++) every[i] = i + 1;
  EXPECT_EQ(play(stream, every).events, expected);
}

// Memory that grew with each fragment by that fragment's size alone would be copied each time.
TEST(SessionMessages, InManyFragmentsMoveInMemoryRarely) {
  Session session(1 << 20);
  Recorder host;
  size_t reserved = 0;
  host.then = [&](Opcode, MutableBytes payload) { reserved = malloc_usable_size(payload.data()); };
  receive(session, host, binary(std::string(5000, 'x'), more));
  receive(session, host, continuation("x", more));
  receive(session, host, continuation("x"));
  EXPECT_GE(reserved, 10000u);
}

TEST(SessionMessages, ThatClaimMuchReserveMemoryOnlyForWhatHasArrived) {
  for (std::string header :
       {client_header(0x82, uint64_t(1) << 62), client_header(0x02, (uint64_t(1) << 63) - 1)}) {
    Session session(UINT64_MAX);
    Recorder host;
    receive(session, host, header);
    for (int i = 0; i < 10000; i++) receive(session, host, "x");
    EXPECT_FALSE(session.ended());
    EXPECT_EQ(host.events, Events{});
  }
}

TEST(SessionPings, AreAnsweredWithTheSamePayload) {
  for (std::string payload : {std::string(), std::string("Hello, world!"),
                              from_hex("00fffefdfcfb00ff"), std::string(125, '\xfe')})
    EXPECT_EQ(events_of(ping(payload)), Events{joined("sent pong", payload)});
}

TEST(SessionPings, AreAnsweredOneByOneInTheirOrder) {
  std::string stream;
  Events expected;
  for (int i = 0; i < 10; i++) {
    stream += ping("payload-" + std::to_string(i));
    expected.push_back("sent pong payload-" + std::to_string(i));
  }
  EXPECT_EQ(events_of(stream), expected);
}

TEST(SessionPings, BetweenFragmentsAreAnsweredAtOnce) {
  EXPECT_EQ(events_of(text("a", more) + ping("1") + continuation("b", more) + ping("") +
                      continuation("c")),
            (Events{"sent pong 1", "sent pong", "text abc"}));
}

// The message's decoder must not see the ping's payload, nor the ping disturb a split character.
TEST(SessionPings, InsideACharacterOfAFragmentedTextLeaveItWhole) {
  EXPECT_EQ(
      events_of(text("\xe2\x82", more) + ping("\xff\xff") + pong("\x80") + continuation("\xac")),
      (Events{"sent pong \\xff\\xff", "text \\xe2\\x82\\xac"}));
}

TEST(SessionPings, BetweenFragmentsAreAnsweredBeforeTheMessageEnds) {
  Session session(1 << 20);
  Recorder host;
  receive(session, host, text("a", more) + continuation("b", more) + ping("first"));
  EXPECT_EQ(host.events, Events{"sent pong first"});
  receive(session, host, continuation("c", more) + continuation("d", more) + ping("second"));
  EXPECT_EQ(host.events, (Events{"sent pong first", "sent pong second"}));
  receive(session, host, continuation("e"));
  EXPECT_EQ(host.events.back(), "text abcde");
}

TEST(SessionPongs, ThatNobodyAskedForAreIgnored) {
  EXPECT_EQ(events_of(pong("") + pong("unasked") + ping("asked")), Events{"sent pong asked"});
  EXPECT_EQ(events_of(text("a", more) + pong(std::string(125, 'x')) + continuation("b")),
            Events{"text ab"});
}

TEST(SessionPings, AreToldOnceTheyAreAnswered) {
  Start start{.begin = [](Session&, Recorder& host) {
    host.on_heard = [&](Bytes payload) {
      EXPECT_EQ(host.events.back(), joined("sent pong", text_of(payload)));
    };
  }};
  std::string longest(125, '\xfe');
  EXPECT_EQ(
      outcome_of(ping("a") + text("b", more) + ping("") + continuation("c") + ping(longest), start)
          .heard,
      (Events{"ping a", "ping", joined("ping", longest)}));
}

TEST(SessionPongs, AreToldWhetherAskedForOrNot) {
  EXPECT_EQ(outcome_of(pong("unasked") + text("b", more) + pong("") + continuation("c")).heard,
            (Events{"pong unasked", "pong"}));
  Start asking{.begin = [](Session& session, Recorder& host) {
    EXPECT_TRUE(session.ping(bytes_of("are you there"), host));
  }};
  EXPECT_EQ(outcome_of(pong("are you there"), asking).heard, Events{"pong are you there"});
}

TEST(SessionPings, AreNotToldOnceACloseFrameWentOut) {
  Start closed{.begin = [](Session& session, Recorder& host) { session.close(1001, "", host); }};
  EXPECT_EQ(outcome_of(ping("a") + pong("b"), closed).heard, Events{});
  // Nor where the host closes, or abandons the session, while the answer goes out.
  for (bool closes : {true, false}) {
    Start start{.begin = [&](Session& session, Recorder& host) {
      host.on_transmit = [&, closes](Opcode opcode) {
        if (opcode != Opcode::pong) return;
        if (closes) session.close(1001, "", host);
        else session.abandon();
      };
    }};
    EXPECT_EQ(outcome_of(ping("a") + pong("b"), start).heard, Events{});
  }
}

TEST(SessionPings, OfTheServerGoOutAsTheyAre) {
  Session session(1 << 20, kDeflate);
  Recorder host;
  EXPECT_TRUE(session.ping(bytes_of("hello"), host));
  EXPECT_TRUE(session.pong({}, host));
  EXPECT_EQ(host.wire, from_hex("8905 68656c6c6f 8a00"));
  std::string longest(125, 'x');
  EXPECT_TRUE(session.ping(bytes_of(longest), host));
  EXPECT_EQ(host.events.back(), "sent ping " + longest);
  session.close(1000, "", host);
  EXPECT_FALSE(session.ping(bytes_of("late"), host));
  EXPECT_FALSE(session.pong(bytes_of("late"), host));
  EXPECT_EQ(host.events.back(), "sent close 1000");
}

TEST(SessionText, OfEveryLengthOfCharacterIsDelivered) {
  for (const char* hex :
       {"68656c6c6f24776f726c64", "68656c6c6fc2a2776f726c64", "68656c6c6fe282ac776f726c64",
        "68656c6c6ff0a4ada2776f726c64", "cebae1bdb9cf83cebcceb5", "00", "7f", "c280", "dfbf",
        "e0a080", "efbfbf", "f0908080", "f48fbfbf", "ed9fbf", "ee8080", "efbfbd",
        // Non-characters are valid UTF-8 all the same.
        "efbfbe", "f09fbfbe", "f09fbfbf", "f18fbfbf", "f3bfbfbe", "f48fbfbe", "efb790"}) {
    std::string payload = from_hex(hex);
    EXPECT_EQ(events_of(text(payload)), Events{message_event(Opcode::text, payload)}) << hex;
  }
}

TEST(SessionText, CutAnywhereIntoFragmentsIsDelivered) {
  std::string payload = "κόσμε € 𝄞";
  std::string bytewise = text(payload.substr(0, 1), more);
  for (size_t i = 1; i < payload.size(); i++) bytewise += continuation(payload.substr(i, 1), more);
  EXPECT_EQ(events_of(bytewise + continuation("")), Events{message_event(Opcode::text, payload)});
  for (size_t cut = 0; cut <= payload.size(); cut++)
    EXPECT_EQ(events_of(text(payload.substr(0, cut), more) + continuation(payload.substr(cut))),
              Events{message_event(Opcode::text, payload)})
        << cut;
}

TEST(SessionText, MayLeaveBinaryMessagesHoldWhatIsNoText) {
  EXPECT_EQ(events_of(binary("\xff\xfe", more) + continuation("\xc0") + text("ok")),
            (Events{"binary \\xff\\xfe\\xc0", "text ok"}));
}

TEST(SessionLimit, ExactlyMetIsAccepted) {
  Start ten{.limit = 10};
  EXPECT_EQ(events_of(text("0123456789"), ten), Events{"text 0123456789"});
  EXPECT_EQ(events_of(text("01234", more) + continuation("56789"), ten), Events{"text 0123456789"});
  EXPECT_EQ(events_of(text("0123456789", more) + continuation("", more) + continuation(""), ten),
            Events{"text 0123456789"});
}

TEST(SessionLimit, IsForEachMessageAndNotForTheirSum) {
  Start ten{.limit = 10};
  std::string two = binary("01234", more) + continuation("56789") + binary("0123456789");
  EXPECT_EQ(events_of(two + two, ten), Events(4, "binary 0123456789"));
}

TEST(SessionLimit, DoesNotCountControlFrames) {
  EXPECT_EQ(
      events_of(text("0123", more) + ping("longer than five") + continuation("4"), {.limit = 5}),
      (Events{"sent pong longer than five", "text 01234"}));
}

TEST(SessionLimit, OfZeroLeavesEmptyMessages) {
  EXPECT_EQ(events_of(text("") + binary(""), {.limit = 0}), (Events{"text", "binary"}));
}

TEST(SessionInMessage, IsTrueBetweenTheFirstByteAndTheLast) {
  for (const std::string& stream :
       {text("hello"), text(""), binary(std::string(300, 'x')), ping("are you there"),
        text("ab", more) + ping("between") + continuation("", more) + continuation("cd")}) {
    Session session(1 << 20);
    Recorder host;
    EXPECT_FALSE(session.in_message());
    for (size_t i = 0; i < stream.size(); i++) {
      receive(session, host, std::string_view(stream).substr(i, 1));
      EXPECT_EQ(session.in_message(), i + 1 < stream.size()) << i << " of " << readable(stream);
    }
    receive(session, host, stream);
    EXPECT_FALSE(session.in_message());
  }
}

TEST(SessionInMessage, IsFalseOnceItHasEnded) {
  for (const std::string& last : {close_frame(1000), from_hex("c180 00000000")}) {
    Session session(1 << 20);
    Recorder host;
    receive(session, host, text("half", more));
    EXPECT_TRUE(session.in_message());
    receive(session, host, last);
    EXPECT_TRUE(session.ended());
    EXPECT_FALSE(session.in_message());
  }
}

}  // namespace
}  // namespace mws::test
