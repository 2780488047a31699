// The closing handshake, RFC 6455 §7, from either side, and sessions whose connection is gone.
#include "src/protocol/close_code.h"
#include "tests/unit/protocol_support.h"

namespace mws::test {
namespace {

// A session on which the server has started the closing handshake.
Start closed_by_server(uint16_t code = 1001, std::string_view reason = "") {
  return {.begin = [=](Session& session, Recorder& host) {
    EXPECT_TRUE(session.close(code, reason, host));
  }};
}

// ---- The client begins --------------------------------------------------------------------------

TEST(SessionClose, WithoutPayloadIsAnsweredWithoutPayload) {
  Outcome outcome = outcome_of(close_with(""));
  EXPECT_EQ(outcome.events, (Events{"sent close", "end 1005, clean"}));
  EXPECT_EQ(outcome.wire, from_hex("8800"));
}

TEST(SessionClose, WithACodeIsAnsweredWithThatCode) {
  Outcome outcome = outcome_of(close_frame(1000));
  EXPECT_EQ(outcome.events, (Events{"sent close 1000", "end 1000, clean"}));
  EXPECT_EQ(outcome.wire, from_hex("8802 03e8"));
}

TEST(SessionClose, WithAReasonIsAnsweredWithBoth) {
  EXPECT_EQ(events_of(close_frame(4001, "thanks, \xc3\xa9")),
            (Events{"sent close 4001 thanks, \\xc3\\xa9", "end 4001 thanks, \\xc3\\xa9, clean"}));
}

TEST(SessionClose, OfEveryLengthOfPayloadIsJudgedByThatLength) {
  for (size_t size = 0; size <= 130; size++) {
    std::string payload = code_and_reason(1000, std::string(size > 2 ? size - 2 : 0, 'r'));
    payload.resize(size);
    Outcome outcome =
        size <= 5 || size >= 120 ? outcome_of(close_with(payload)) : play(close_with(payload), {});
    if (size == 1) {
      EXPECT_EQ(outcome.broken, Rule::close_payload_one_byte);
    } else if (size > 125) {
      EXPECT_EQ(outcome.broken, Rule::control_frame_too_long) << size;
    } else {
      std::string code = size ? "1000" : "1005";
      std::string reason = size > 2 ? payload.substr(2) : "";
      EXPECT_EQ(outcome.events.back(), joined("end " + code, reason) + ", clean") << size;
      EXPECT_EQ(outcome.wire, std::string({char(0x88), char(size)}) + payload) << size;
    }
  }
}

TEST(SessionClose, IsAcceptedOrRefusedByItsCode) {
  for (unsigned code = 0; code <= 5001; code++) {
    if (code == 5001) code = 65535;
    std::string number = std::to_string(code);
    Outcome outcome = play(close_frame(code), {});
    bool allowed = (code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006) ||
                   (code >= 3000 && code <= 4999);
    if (allowed) {
      EXPECT_EQ(outcome.events, (Events{"sent close " + number, "end " + number + ", clean"}));
    } else {
      EXPECT_EQ(outcome.broken, Rule::close_code_not_allowed) << code;
      EXPECT_EQ(outcome.events.front(), "sent close 1002 close code not allowed") << code;
    }
  }
}

TEST(SessionClose, MayComeWithAReservedCodeWhereThatIsAllowed) {
  Start start{.allows_reserved_close_codes = true};
  for (unsigned code : {1000, 1004, 1016, 1100, 2000, 2999, 3000, 4999}) {
    std::string number = std::to_string(code);
    EXPECT_EQ(events_of(close_frame(code, "bye"), start),
              (Events{"sent close " + number + " bye", "end " + number + " bye, clean"}));
  }
  for (unsigned code : {0, 999, 1005, 1006, 1015, 5000, 65535})
    EXPECT_EQ(outcome_of(close_frame(code), start).broken, Rule::close_code_not_allowed) << code;
}

TEST(SessionClose, IsTheLastThatIsTakenFromAClient) {
  for (std::string after : {text("late"), ping("late"), close_with(""), close_frame(4000),
                            continuation("stray"), from_hex("ffffffffffff")})
    EXPECT_EQ(events_of(close_frame(1000) + after), (Events{"sent close 1000", "end 1000, clean"}));
}

TEST(SessionClose, InTheMiddleOfAFragmentedMessageDropsTheMessage) {
  EXPECT_EQ(events_of(text("first", more) + close_frame(1000) + continuation("last")),
            (Events{"sent close 1000", "end 1000, clean"}));
}

TEST(SessionClose, ComesAfterTheMessagesBeforeIt) {
  std::string large(256 * 1024, 'x');
  EXPECT_EQ(play(text(large) + text("short") + close_frame(1000) + ping(""), {}).events,
            (Events{message_event(Opcode::text, large), "text short", "sent close 1000",
                    "end 1000, clean"}));
}

TEST(SessionClose, OfTheClientLeavesNothingToSend) {
  Session session(100);
  Recorder host;
  receive(session, host, close_frame(1000));
  EXPECT_TRUE(session.ended());
  EXPECT_FALSE(session.may_send());
  EXPECT_FALSE(session.send(Opcode::text, bytes_of("late"), host));
  EXPECT_FALSE(session.close(1000, "late", host));
  EXPECT_EQ(host.events, (Events{"sent close 1000", "end 1000, clean"}));
}

// ---- The server begins --------------------------------------------------------------------------

TEST(SessionClose, OfTheServerGoesOutWithCodeAndReason) {
  Outcome outcome = outcome_of("", closed_by_server(1001, "restart"));
  EXPECT_EQ(outcome.events, Events{"sent close 1001 restart"});
  EXPECT_EQ(outcome.wire, from_hex("8809 03e9") + "restart");
}

TEST(SessionClose, OfTheServerWithoutACodeIsEmpty) {
  EXPECT_EQ(outcome_of("", closed_by_server(kCloseNoCode)).wire, from_hex("8800"));
}

TEST(SessionClose, OfTheServerCarriesAReasonOfUpTo123Bytes) {
  for (size_t size : {0, 1, 122, 123}) {
    std::string reason(size, 'r');
    std::string frame{char(0x88), char(2 + size)};
    EXPECT_EQ(outcome_of("", closed_by_server(4000, reason)).wire,
              frame + code_and_reason(4000, reason));
  }
}

TEST(SessionClose, OfTheServerNeedsNoMemoryForAnEmptyReason) {
  EXPECT_EQ(events_of("", closed_by_server(1000, std::string_view())), Events{"sent close 1000"});
}

TEST(SessionClose, OfTheServerEndsCleanlyWithTheClientsCode) {
  EXPECT_EQ(events_of(close_frame(1001), closed_by_server()),
            (Events{"sent close 1001", "end 1001, clean"}));
  EXPECT_EQ(events_of(close_frame(4002, "bye"), closed_by_server()),
            (Events{"sent close 1001", "end 4002 bye, clean"}));
  EXPECT_EQ(events_of(close_with(""), closed_by_server()),
            (Events{"sent close 1001", "end 1005, clean"}));
}

TEST(SessionClose, OfTheServerForbidsSendingAndClosingAgain) {
  Session session(100);
  Recorder host;
  EXPECT_TRUE(session.may_send());
  EXPECT_TRUE(session.close(1000, "", host));
  EXPECT_FALSE(session.may_send());
  EXPECT_FALSE(session.ended());
  EXPECT_FALSE(session.send(Opcode::binary, bytes_of("late"), host));
  EXPECT_FALSE(session.close(1001, "again", host));
  EXPECT_EQ(host.events, Events{"sent close 1000"});
}

TEST(SessionClose, OfTheServerLeavesPingsUnansweredAndDropsMessages) {
  EXPECT_EQ(events_of(text("late") + ping("late") + pong("") + binary("late", more) + ping("") +
                          continuation("") + close_frame(1000),
                      closed_by_server()),
            (Events{"sent close 1001", "end 1000, clean"}));
}

TEST(SessionClose, OfTheServerDropsMessagesWithoutReadingThem) {
  EXPECT_EQ(events_of(text("\xff") + text("\xc3", more) + continuation("\xff") + text("\xc3") +
                          close_frame(1000),
                      closed_by_server()),
            (Events{"sent close 1001", "end 1000, clean"}));
}

TEST(SessionClose, OfTheServerInTheMiddleOfAMessageDropsItsRest) {
  for (std::string rest : {std::string("\xa9 rest"), std::string("rest")}) {
    std::string stream = text("caf\xc3" + rest) + close_frame(1000);
    Session session(100);
    Recorder host;
    receive(session, host, stream.substr(0, 10));
    session.close(1001, "", host);
    receive(session, host, stream.substr(10));
    EXPECT_EQ(host.events, (Events{"sent close 1001", "end 1000, clean"}));
  }
}

TEST(SessionClose, OfTheServerInTheMiddleOfAMessageFreesTheLimitOfIt) {
  std::string before = text(std::string(60, 'x'), more);
  std::string after = continuation("") + binary(std::string(30, 'x'), more) +
                      continuation(std::string(70, 'x')) + close_frame(1000);
  Start interrupted{.limit = 100, .begin = [&](Session& session, Recorder& host) {
                      receive(session, host, before);
                      session.close(1001, "", host);
                    }};
  EXPECT_EQ(events_of(after, interrupted), (Events{"sent close 1001", "end 1000, clean"}));
}

// Its close frame is out already; all that can be done is to end.
TEST(SessionClose, OfTheServerIsFollowedByAnUncleanEndIfTheClientBreaksARule) {
  struct {
    std::string stream;
    Rule rule;
  } const cases[] = {
      {from_hex("8100"), Rule::frame_not_masked},
      {client_frame(0xc1, ""), Rule::reserved_bit_set},
      {continuation(""), Rule::continuation_without_start},
      {text("a", more) + text("b"), Rule::data_frame_inside_message},
      {close_with("x"), Rule::close_payload_one_byte},
      {close_frame(1005), Rule::close_code_not_allowed},
      {close_frame(1000, "\xff"), Rule::close_reason_not_utf8},
      {client_header(0x82, uint64_t(1) << 40), Rule::message_too_big},
  };
  for (auto& c : cases) {
    Outcome outcome = outcome_of(c.stream, closed_by_server());
    EXPECT_EQ(outcome.broken, c.rule);
    EXPECT_EQ(outcome.events.size(), 2u);
    EXPECT_EQ(outcome.wire, from_hex("8802 03e9"));
  }
}

// ---- From inside a call -------------------------------------------------------------------------

TEST(SessionClose, FromInsideAMessageDropsTheMessagesBehindIt) {
  Start start{.begin = [](Session& session, Recorder& host) {
    host.then = [&](Opcode, MutableBytes) {
      EXPECT_TRUE(session.close(4000, "enough", host));
      EXPECT_FALSE(session.close(4001, "", host));
      EXPECT_FALSE(session.send(Opcode::text, bytes_of("late"), host));
    };
  }};
  Events expected{"text 1", "sent close 4000 enough", "end 4000, clean"};
  std::string after = text("2") + ping("3") + text("\xff") + binary("4", more) + continuation("5") +
                      close_frame(4000);
  EXPECT_EQ(events_of(text("1") + after, start), expected);
  EXPECT_EQ(events_of(text("", more) + continuation("1") + after, start), expected);
}

TEST(SessionClose, FromInsideAMessageComesAfterWhatWasSentThere) {
  Start start{.begin = [](Session& session, Recorder& host) {
    host.then = [&](Opcode type, MutableBytes payload) {
      EXPECT_TRUE(session.send(type, payload, host));
      EXPECT_TRUE(session.close(1000, "", host));
    };
  }};
  EXPECT_EQ(events_of(text("last") + close_frame(1000), start),
            (Events{"text last", "sent text last", "sent close 1000", "end 1000, clean"}));
}

TEST(SessionClose, IsInForceWhileItsFrameGoesOut) {
  Start start{.begin = [](Session& session, Recorder& host) {
    host.on_transmit = [&](Opcode opcode) {
      if (opcode != Opcode::close) return;
      EXPECT_FALSE(session.may_send());
      EXPECT_FALSE(session.send(Opcode::text, bytes_of("late"), host));
      EXPECT_FALSE(session.close(1001, "", host));
    };
  }};
  EXPECT_EQ(events_of(close_frame(1000), start), (Events{"sent close 1000", "end 1000, clean"}));
  EXPECT_EQ(events_of(close_with(""), start), (Events{"sent close", "end 1005, clean"}));
  EXPECT_EQ(events_of(client_frame(0xf1, ""), start).size(), 2u);
}

TEST(SessionClose, CannotBeFollowedByAnythingFromInsideTheEnd) {
  Start start{.begin = [](Session& session, Recorder& host) {
    host.on_ended = [&] {
      EXPECT_TRUE(session.ended());
      EXPECT_FALSE(session.send(Opcode::text, bytes_of("late"), host));
      EXPECT_FALSE(session.close(1000, "", host));
    };
  }};
  EXPECT_EQ(events_of(close_frame(1000), start), (Events{"sent close 1000", "end 1000, clean"}));
  EXPECT_EQ(events_of(text("\xff"), start).size(), 2u);
}

// ---- The connection is gone ---------------------------------------------------------------------

TEST(SessionAbandoned, HasNoMoreEvents) {
  Start start{.begin = [](Session& session, Recorder& host) {
    session.abandon();
    EXPECT_TRUE(session.ended());
    EXPECT_FALSE(session.may_send());
    EXPECT_FALSE(session.send(Opcode::text, bytes_of("late"), host));
    EXPECT_FALSE(session.close(1000, "", host));
  }};
  EXPECT_EQ(events_of(text("a") + ping("b") + from_hex("ffff") + close_frame(1000), start),
            Events{});
}

TEST(SessionAbandoned, InsideAMessageHasNoMoreEvents) {
  Start start{.begin = [](Session& session, Recorder& host) {
    host.then = [&](Opcode, MutableBytes) { session.abandon(); };
  }};
  std::string after = text("2") + ping("3") + client_frame(0xff, "") + close_frame(1000);
  EXPECT_EQ(events_of(text("1") + after, start), Events{"text 1"});
  EXPECT_EQ(events_of(text("", more) + continuation("1") + after, start), Events{"text 1"});
}

TEST(SessionAbandoned, WhileSomethingIsSentHasNoMoreEvents) {
  Start start{.begin = [](Session& session, Recorder& host) {
    host.on_transmit = [&](Opcode) { session.abandon(); };
  }};
  EXPECT_EQ(events_of(ping("1") + ping("2"), start), Events{"sent pong 1"});
  EXPECT_EQ(events_of(close_frame(1000), start), Events{"sent close 1000"});
  EXPECT_EQ(events_of(text("\xff") + ping(""), start),
            Events{"sent close 1007 text message is not UTF-8"});
  EXPECT_EQ(events_of(text("a", more) + ping("1") + continuation("b"), start),
            Events{"sent pong 1"});
}

TEST(SessionAbandoned, InTheMiddleOfAFrameHasNoMoreEvents) {
  std::string stream = text("first", more) + continuation("last");
  for (size_t cut = 0; cut < stream.size(); cut++) {
    Session session(100);
    Recorder host;
    receive(session, host, stream.substr(0, cut));
    session.abandon();
    receive(session, host, stream.substr(cut));
    EXPECT_EQ(host.events, Events{}) << cut;
  }
}

}  // namespace
}  // namespace mws::test
