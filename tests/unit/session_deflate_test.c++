// permessage-deflate as a session speaks it, RFC 7692 §6 and §7.2.
#include "src/protocol/prepared_message.h"
#include "tests/unit/protocol_support.h"

namespace mws::test {
namespace {

DeflateParameters with_takeover() {
  DeflateParameters parameters = kDeflate;
  parameters.server_takeover = parameters.client_takeover = true;
  return parameters;
}

std::string compressed_text(std::string_view payload, Fin fin = last) {
  return client_frame(fin | 0x41u, payload);
}
std::string compressed_binary(std::string_view payload, Fin fin = last) {
  return client_frame(fin | 0x42u, payload);
}

// Answers each message with itself.
Start echoing(const DeflateParameters& deflate, uint64_t limit = 1 << 20) {
  return {.limit = limit,
          .begin =
              [](Session& session, Recorder& host) {
                host.then = [&](Opcode type, MutableBytes payload) {
                  session.send(type, payload, host);
                };
              },
          .deflate = deflate};
}

TEST(SessionDeflate, DeliversCompressedMessagesAsTheyWere) {
  for (const std::string& message : {std::string("Hello"), json(100), json(1000), json(20000)}) {
    Events expected = {message_event(Opcode::text, message)};
    EXPECT_EQ(events_of(compressed_text(deflated(message)), {.deflate = kDeflate}), expected);
    EXPECT_EQ(events_of(text(message), {.deflate = kDeflate}), expected) << "not compressed";
  }
  std::string bytes = noise(5000);
  EXPECT_EQ(events_of(compressed_binary(deflated(bytes)), {.deflate = kDeflate}),
            Events{message_event(Opcode::binary, bytes)});
  for (const std::string& empty : {std::string(), std::string(1, 0)})
    EXPECT_EQ(events_of(compressed_text(empty), {.deflate = kDeflate}), Events{"text"});
}

TEST(SessionDeflate, TakesFragmentsWithControlFramesBetween) {
  std::string payload = deflated("fragments of one message"), third = payload.substr(0, 7);
  EXPECT_EQ(events_of(compressed_text("", more) + continuation(third, more) + ping("x") +
                          continuation("", more) + continuation(payload.substr(7)) + text("next"),
                      {.deflate = kDeflate}),
            (Events{"sent pong x", "text fragments of one message", "text next"}));
  EXPECT_EQ(events_of(compressed_text("", more) + continuation(""), {.deflate = kDeflate}),
            Events{"text"});
}

TEST(SessionDeflate, WithoutTakeoverMessagesStandAlone) {
  std::string refers = from_hex("f200110000");
  EXPECT_EQ(
      events_of(compressed_text(deflated("Hello")) + compressed_text(refers), {.deflate = kDeflate})
          .back(),
      "end 1007 compressed data is corrupt, broken");
  EXPECT_EQ(events_of(compressed_text(from_hex("f248cdc9c90700")) + text("between") +
                          compressed_text(refers),
                      {.deflate = with_takeover()}),
            (Events{"text Hello", "text between", "text Hello"}));
}

TEST(SessionDeflate, TakesNoMoreOnceSoManyBytesAreInflated) {
  std::string message(1000, 'x'), stream, payload = deflated(message);
  for (int i = 0; i < 5; i++)
    stream += compressed_text(payload.substr(0, 4), more) + continuation(payload.substr(4)) +
              compressed_text(payload) + text(message);
  Session session(1 << 20, kDeflate);
  Recorder host;
  MutableBytes rest(reinterpret_cast<uint8_t*>(stream.data()), stream.size());
  Events expected;
  for (int i = 0; i < 5; i++) {  // what is not compressed costs nothing
    rest = session.receive(rest, host, 1001);
    expected.insert(expected.end(), i ? 3 : 2, message_event(Opcode::text, message));
    EXPECT_EQ(host.events, expected);
    EXPECT_EQ(rest.empty(), false);
  }
  rest = session.receive(rest, host, 1001);
  EXPECT_TRUE(rest.empty());
  EXPECT_EQ(host.events.size(), 15u);
}

TEST(SessionDeflate, SendsCompressedWhatIsLongEnoughAndGetsSmaller) {
  for (bool takeover : {false, true}) {
    DeflateParameters parameters = takeover ? with_takeover() : kDeflate;
    auto answer = [&](const std::string& message) {
      return events_of(text(message), echoing(parameters)).back();
    };
    std::string longer = json(600), shorter(255, 'x');
    EXPECT_EQ(answer(longer), "sent compressed " + message_event(Opcode::text, longer));
    EXPECT_EQ(answer(shorter), "sent " + message_event(Opcode::text, shorter));
    EXPECT_EQ(answer(shorter + "x"),
              "sent compressed " + message_event(Opcode::text, shorter + "x"));
    EXPECT_EQ(answer(""), "sent text");
  }
  std::string bytes = noise(1000);
  EXPECT_EQ(events_of(binary(bytes), echoing(kDeflate)).back(),
            "sent " + message_event(Opcode::binary, bytes));
  EXPECT_EQ(events_of(binary(bytes), echoing(with_takeover())).back(),
            "sent compressed " + message_event(Opcode::binary, bytes))
      << "later messages refer to it";
}

TEST(SessionDeflate, KeepsBothContextsOverManyMessages) {
  for (int bits : {8, 9, 12, 15}) {
    DeflateParameters parameters = with_takeover();
    parameters.server_window_bits = parameters.client_window_bits = uint8_t(bits);
    PlainDeflater client(6, std::max(bits, 9));
    std::string stream;
    Events expected;
    for (unsigned i = 0; i < 6; i++) {
      std::string message = json(700 + 50 * i, i % 2);
      stream += i % 3 == 2 ? text(message) : compressed_text(client.deflate(message));
      expected.push_back(message_event(Opcode::text, message));
      expected.push_back("sent compressed " + message_event(Opcode::text, message));
    }
    EXPECT_EQ(events_of(stream, echoing(parameters)), expected) << bits;
  }
}

TEST(SessionDeflate, HoldsMemoryFromTheFirstMessageOnAndWithTakeoverOnly) {
  for (bool takeover : {false, true}) {
    Session session(1 << 20, takeover ? with_takeover() : kDeflate);
    Recorder host;
    EXPECT_EQ(session.takeover_bytes(), 0u);
    receive(session, host, compressed_text(deflated(json(600))));
    size_t inflater = session.takeover_bytes();
    session.send(Opcode::text, bytes_of(json(600)), host);
    EXPECT_EQ(inflater > 32'000, takeover);
    EXPECT_EQ(session.takeover_bytes() > inflater + 200'000, takeover);
  }
}

TEST(SessionDeflate, SendsAsItIsWhatTheHandlerSays) {
  Session session(1 << 20, kDeflate);
  Recorder host;
  std::string message = json(600);
  EXPECT_TRUE(session.send(Opcode::text, bytes_of(message), host, false));
  EXPECT_TRUE(session.send(Opcode::text, bytes_of(message), host));
  EXPECT_EQ(host.events, (Events{"sent " + message_event(Opcode::text, message),
                                 "sent compressed " + message_event(Opcode::text, message)}));
}

TEST(SessionDeflate, CountsWhatIsInflatedAgainstTheLimit) {
  for (size_t size : {1000, 70000}) {
    std::string payload = deflated(std::string(size, 'x'));
    for (const std::string& stream :
         {compressed_text(payload),
          compressed_text(payload.substr(0, 5), more) + continuation(payload.substr(5))}) {
      EXPECT_EQ(outcome_of(stream, {.limit = size, .deflate = kDeflate}).broken, Rule::none);
      EXPECT_EQ(outcome_of(stream, {.limit = size - 1, .deflate = kDeflate}).broken,
                Rule::message_too_big);
      EXPECT_EQ(outcome_of(stream, {.limit = size - 2, .deflate = with_takeover()}).broken,
                Rule::message_too_big);
    }
  }
  // What cannot be compressed may take a little more than the limit.
  std::string bytes = noise(1000), grown = deflated(bytes, 0);
  ASSERT_GT(grown.size(), bytes.size());
  EXPECT_EQ(outcome_of(compressed_binary(grown), {.limit = 1000, .deflate = kDeflate}).broken,
            Rule::none);
}

TEST(SessionDeflate, LimitsWhatArrivesThoughItInflatesToNothing) {
  std::string empty_block = from_hex("000000ffff"), blocks;
  while (blocks.size() < 1000 + 1000 / 8 + 64) blocks += empty_block;
  for (const std::string& stream :
       {compressed_text(blocks),
        compressed_text(blocks.substr(0, 500), more) + continuation(blocks.substr(500))})
    EXPECT_EQ(outcome_of(stream, {.limit = 1000, .deflate = kDeflate}).broken,
              Rule::message_too_big);
}

TEST(SessionDeflate, RefusesABombInFragments) {
  // 10 MB of zeros, and again, in fragments, at a limit of 100 kB.
  PlainDeflater client;
  std::string payload = client.deflate(std::string(10 << 20, 0));
  std::string stream = compressed_binary(payload.substr(0, 1000), more) +
                       continuation(payload.substr(1000, 1000), more) +
                       continuation(payload.substr(2000));
  EXPECT_EQ(play(stream, {}, {.limit = 100'000, .deflate = kDeflate}).broken,
            Rule::message_too_big);
}

TEST(SessionDeflate, FailsAtTheByteThatMakesTextInvalid) {
  // The text becomes invalid in the first fragment; the rest never comes.
  std::string payload = deflated("\xff" + json(2000));
  Session session(1 << 20, kDeflate);
  Recorder host;
  receive(session, host, compressed_text(payload.substr(0, 200), more));
  EXPECT_EQ(host.broken, Rule::text_not_utf8);
}

TEST(SessionDeflate, DropsWhatArrivesBehindACloseFrame) {
  Events events = events_of(
      compressed_text(deflated("before")) + close_frame(1000) + compressed_text("corrupt"),
      {.deflate = kDeflate});
  EXPECT_EQ(events, (Events{"text before", "sent close 1000", "end 1000, clean"}));
  auto closing = [](Session& session, Recorder& host) { session.close(1001, "", host); };
  EXPECT_EQ(events_of(compressed_text("corrupt") + compressed_text("cor", more) +
                          continuation("rupt") + close_frame(1001),
                      {.begin = closing, .deflate = kDeflate}),
            (Events{"sent close 1001", "end 1001, clean"}));
}

// --- One message for many clients ---

TEST(PreparedMessage, IsCompressedOncePerSetOfParameters) {
  std::string message = json(5000);
  PreparedMessage prepared(Opcode::text, bytes_of(message));
  DeflateShare share;
  DeflateParameters other = kDeflate;
  other.level = 6;
  const uint8_t* first = prepared.frame(kDeflate, share).payload.data();
  EXPECT_EQ(prepared.frame(kDeflate, share).payload.data(), first);
  EXPECT_NE(prepared.frame(other, share).payload.data(), first);
  EXPECT_EQ(prepared.frame(other, share).payload.data(),
            prepared.frame(other, share).payload.data());
  other.min_size = 9999;
  EXPECT_EQ(prepared.frame(other, share).payload.data(), prepared.payload().data());
}

TEST(PreparedMessage, ReachesEveryClientAsItWas) {
  DeflateParameters narrow = kDeflate, high = kDeflate;
  narrow.server_window_bits = 9;
  high.min_size = 100'000;
  for (const std::string& message :
       {json(5000), noise(5000), std::string(), std::string("short")}) {
    PreparedMessage prepared(Opcode::binary, bytes_of(message));
    for (const DeflateParameters& deflate :
         {DeflateParameters{}, kDeflate, narrow, high, with_takeover()}) {
      Session session(1 << 20, deflate);
      Recorder host;
      for (int i = 0; i < 3; i++) EXPECT_TRUE(session.send(prepared, host));
      bool compressed = message[0] == '{' && deflate.compresses(message.size());
      if (deflate.server_takeover && message.size() > 1000) compressed = true;
      EXPECT_EQ(host.events, Events(3, (compressed ? "sent compressed " : "sent ") +
                                           message_event(Opcode::binary, message)));
      session.close(1000, "", host);
      EXPECT_FALSE(session.send(prepared, host));
    }
  }
}

TEST(PreparedMessage, CopiesNothingWhereItMayReferToThePayload) {
  int released = 0;
  std::string message = json(5000);
  {
    PreparedMessage prepared(Opcode::text, bytes_of(message), true, [&] { released++; });
    EXPECT_EQ(prepared.payload().data(), bytes_of(message).data());
    EXPECT_EQ(prepared.frame().payload.data(), bytes_of(message).data());
    for (const DeflateParameters& deflate : {DeflateParameters{}, kDeflate, with_takeover()}) {
      Session session(1 << 20, deflate);
      Recorder host;
      EXPECT_TRUE(session.send(prepared, host));
      EXPECT_EQ(host.events, Events{(deflate.agreed() ? "sent compressed " : "sent ") +
                                    message_event(Opcode::text, message)});
    }
    EXPECT_EQ(released, 0);
  }
  EXPECT_EQ(released, 1);
}

TEST(PreparedMessage, KeepsACopyOtherwise) {
  std::string message = "hello";
  PreparedMessage prepared(Opcode::text, bytes_of(message));
  message = "#####";
  EXPECT_EQ(text_of(prepared.frame().payload), "hello");
}

TEST(PreparedMessage, IsNotCompressedWhereItMustNotBe) {
  std::string message = json(5000);
  PreparedMessage prepared(Opcode::text, bytes_of(message), false);
  for (const DeflateParameters& deflate : {kDeflate, with_takeover()}) {
    Session session(1 << 20, deflate);
    Recorder host;
    session.send(prepared, host);
    EXPECT_EQ(host.events, Events{"sent " + message_event(Opcode::text, message)});
  }
}

}  // namespace
}  // namespace mws::test
