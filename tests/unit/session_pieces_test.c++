// Messages that arrive in pieces. That they are the same messages as those that arrive whole,
// however a stream is cut, is checked by outcome_of(), and so with nearly every stream of these
// tests.
#include "tests/unit/protocol_support.h"

namespace mws::test {
namespace {

const DeflateParameters kTakeover = [] {
  DeflateParameters parameters = kDeflate;
  parameters.server_takeover = parameters.client_takeover = true;
  return parameters;
}();

// A session that streams, and what it told of each piece: "first abc", "abc", "last abc".
struct Streaming {
  explicit Streaming(uint64_t limit = 1 << 20, const DeflateParameters& deflate = {})
      : session({.max_message_bytes = limit, .deflate = deflate, .streams = true}) {
    host.streams = true;
    host.on_told = [this](MutableBytes piece, bool first, bool last) {
      pieces.push_back(
          joined(std::string(first ? "first" : "") + (last ? "last" : ""), text_of(piece)));
      sizes.push_back(piece.size());
      memory.push_back(piece.data());
      if (then) then();
    };
  }
  size_t read(std::string_view bytes, uint64_t inflate_at_most = UINT64_MAX) {
    return receive(session, host, bytes, inflate_at_most);
  }

  Session session;
  Recorder host;
  Events pieces;
  std::vector<size_t> sizes;
  std::vector<uint8_t*> memory;
  std::function<void()> then;
};

TEST(SessionPieces, AreWhatHasArrived) {
  Streaming all;
  all.read(text("whole") + binary("in one", more).substr(0, 9));
  std::string rest = binary("in one", more).substr(9);
  all.read(rest.substr(0, 1));
  all.read(rest.substr(1) + ping("between") + continuation(" more", more));
  all.read(continuation(" and the end") + text("next"));
  EXPECT_EQ(all.pieces, (Events{"firstlast whole", "first in ", " o", " ne", "  more",
                                "last  and the end", "firstlast next"}));
  EXPECT_EQ(all.host.events, (Events{"text whole", "sent pong between",
                                     "binary in one more and the end", "text next"}));
}

TEST(SessionPieces, MayComeInAnyNumberOfFrames) {
  Streaming all;
  std::string frame = continuation("x", more);
  all.read(binary("x", more));
  for (uint32_t i = 0; i < kMaxFragments; i++) all.read(frame);
  all.read(continuation("x"));
  EXPECT_FALSE(all.session.ended());
  EXPECT_EQ(all.pieces.size(), kMaxFragments + 2u);
  EXPECT_EQ(all.pieces.back(), "last x");
}

TEST(SessionPieces, OfAnEmptyMessageAreOne) {
  for (const std::string& stream : {text(""), text("", more) + continuation(""),
                                    text("", more) + continuation("", more) + continuation("")}) {
    Streaming all;
    for (char byte : stream) all.read({&byte, 1});
    EXPECT_EQ(all.pieces, Events{"firstlast"});
  }
  for (const std::string& empty : {std::string(), std::string(1, 0)}) {
    Streaming all(100, kDeflate);
    all.read(client_frame(0xc2, empty));
    EXPECT_EQ(all.pieces, Events{"firstlast"});
  }
}

TEST(SessionPieces, AreEmptyOnlyWhereAnEmptyFrameEndsTheMessage) {
  Streaming all;
  all.read(text("", more) + continuation("a", more) + continuation("", more) + continuation(""));
  EXPECT_EQ(all.pieces, (Events{"first a", "last"}));
}

TEST(SessionPieces, LieWhereTheyWereRead) {
  Streaming all;
  std::string stream = text("whole") + text("one", more) + continuation("two");
  MutableBytes input(reinterpret_cast<uint8_t*>(stream.data()), stream.size());
  all.session.receive(input, all.host);
  EXPECT_EQ(all.memory, (std::vector<uint8_t*>{&input[6], &input[11 + 6], &input[20 + 6]}));
  // Nor is memory kept for what has arrived: a terabyte is let in.
  Streaming large(uint64_t(1) << 40);
  large.read(client_header(0x82, uint64_t(1) << 40));
  for (int i = 0; i < 1000; i++) large.read(std::string(1000, 'x'));
  EXPECT_EQ(large.sizes, std::vector<size_t>(1000, 1000));
}

TEST(SessionPieces, OfATextAreValidUpToWhereTheyEnd) {
  Streaming good;  // the recorder looks at them
  good.read(text("caf\xc3", more));
  good.read(continuation("\xa9 \xe2\x82", more) + continuation("\xac"));
  EXPECT_EQ(good.pieces, (Events{"first caf\\xc3", " \\xa9 \\xe2\\x82", "last \\xac"}));

  for (const std::string& rest :
       {continuation("\xff"), continuation("\xff", more), continuation("")}) {
    Streaming bad;
    bad.read(text("caf\xc3", more) + rest);
    EXPECT_EQ(bad.pieces, Events{"first caf\\xc3"});
    EXPECT_EQ(bad.host.broken, Rule::text_not_utf8);
  }
}

TEST(SessionPieces, CountAgainstTheLimitTogether) {
  Streaming at(10);
  at.read(text("01234", more));
  at.read(continuation("56789"));
  EXPECT_EQ(at.host.events, Events{"text 0123456789"});
  Streaming above(10);
  above.read(text("01234", more));
  above.read(continuation("567890"));
  EXPECT_EQ(above.pieces, Events{"first 01234"});
  EXPECT_EQ(above.host.broken, Rule::message_too_big);
}

TEST(SessionPieces, AreDroppedOnceACloseFrameWentOut) {
  for (bool closes : {true, false})
    for (bool compressed : {true, false}) {
      Streaming all(10 << 20, kDeflate);
      all.then = [&] {
        if (closes) all.session.close(1001, "", all.host);
        else all.session.abandon();
      };
      std::string payload(5 << 20, 'x');
      if (compressed) payload = deflated(payload);
      unsigned first = compressed ? 0x42 : 0x02;
      all.read(client_frame(first, std::string_view(payload).substr(0, payload.size() / 2)));
      all.read(continuation(std::string_view(payload).substr(payload.size() / 2)));
      all.read(text("next") + close_frame(1000));
      EXPECT_EQ(all.pieces.size(), 1u);
      EXPECT_EQ(all.host.events,
                closes ? (Events{"sent close 1001", "end 1000, clean"}) : Events{});
    }
}

TEST(SessionPieces, OfABombAreNeverLarge) {
  constexpr size_t kAll = 20 << 20;
  for (const DeflateParameters& deflate : {kDeflate, kTakeover}) {
    Streaming all(kAll, deflate);
    all.read(client_frame(0xc2, deflated(std::string(kAll, 0), 9)));
    EXPECT_EQ(all.host.events.size(), 1u);
    EXPECT_GT(all.sizes.size(), 50u);
    EXPECT_LE(*std::max_element(all.sizes.begin(), all.sizes.end()), 64 * 1024u + 256 * 1032u);
    Streaming above(kAll - 1, deflate);
    above.read(client_frame(0xc2, deflated(std::string(kAll, 0), 9)));
    EXPECT_EQ(above.host.broken, Rule::message_too_big);
  }
}

TEST(SessionPieces, OfCompressedMessagesAreSomeAtATime) {
  std::string message = json(500'000), payload = deflated(message);
  for (const DeflateParameters& deflate : {kDeflate, kTakeover}) {
    Streaming all(1 << 20, deflate);
    all.read(client_frame(0xc1, payload) + client_frame(0x41, payload.substr(0, 1000)));
    all.read(continuation(payload.substr(1000)));
    EXPECT_EQ(all.host.events, Events(2, message_event(Opcode::text, message)));
    EXPECT_GE(all.sizes.size(), 10u);
  }
}

TEST(SessionPieces, LeaveTheRestOfACompressedFrameOnceSoMuchIsInflated) {
  std::string message(1 << 20, 'x'), payload = deflated(message);
  for (const DeflateParameters& deflate : {kDeflate, kTakeover}) {
    Streaming all(1 << 20, deflate);
    EXPECT_GE(all.read(client_frame(0xc1, payload) + text("behind"), 1), 3u);
    EXPECT_EQ(all.host.events, (Events{message_event(Opcode::text, message), "text behind"}));
  }
  std::string bytes = noise(20'000);  // of which a step gives little
  Streaming all(1 << 20, kDeflate);
  EXPECT_GT(all.read(client_frame(0xc2, deflated(bytes)), 1), 70u);
  EXPECT_EQ(all.host.events, Events{message_event(Opcode::binary, bytes)});
}

TEST(SessionPieces, InterruptInsideOfACompressedFrame) {
  std::string message = noise(300'000), payload = deflated(message);
  std::string stream = client_frame(0xc2, payload) + ping("behind");
  Streaming all(1 << 20, kDeflate);
  all.host.interrupts = &all.session;
  MutableBytes rest(reinterpret_cast<uint8_t*>(stream.data()), stream.size());
  for (size_t pieces = 1; all.host.events.empty(); pieces++) {
    rest = all.session.receive(rest, all.host);
    EXPECT_EQ(all.pieces.size(), pieces);
    EXPECT_LT(all.sizes.back(), 70'000u);
    EXPECT_TRUE(all.session.in_message() || !all.host.events.empty());
  }
  EXPECT_EQ(all.host.events, Events{message_event(Opcode::binary, message)});
  EXPECT_EQ(rest.size(), ping("behind").size());
}

TEST(SessionPieces, OfMessagesThatReferToEachOtherAreRight) {
  PlainDeflater client;
  std::string stream;
  Events expected;
  for (unsigned i = 0; i < 6; i++) {
    std::string message = json(3000 + 50 * i, i % 2), payload = client.deflate(message);
    stream +=
        client_frame(0x41, payload.substr(0, 10)) + ping("") + continuation(payload.substr(10));
    expected.insert(expected.end(), {"sent pong", message_event(Opcode::text, message)});
  }
  EXPECT_EQ(events_of(stream, {.deflate = kTakeover}), expected);
}

TEST(SessionPieces, OfACompressedMessageKeepAnInflaterUntilItsEnd) {
  for (bool streams : {true, false}) {
    Session session({.deflate = kDeflate, .streams = streams});
    Recorder host;
    host.streams = streams;
    DeflateShare& share = host.deflate_share();
    Inflater* first = &share.inflater();
    std::string payload = deflated(json(1000));
    receive(session, host, client_frame(0x41, payload.substr(0, 100)));
    EXPECT_NE(&share.inflater(), first);
    receive(session, host, continuation(payload.substr(100)));
    EXPECT_EQ(&share.inflater(), first);
  }
}

}  // namespace
}  // namespace mws::test
