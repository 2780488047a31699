#include "src/protocol/deflate_offer.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/unit/plain_header.h"

namespace mws {
namespace {

// What the server answers to a client's header, with the settings of a location.
std::string answer(std::string_view header, const DeflateSettings& settings = {}) {
  auto offers = parse_extension_offers(header);
  auto agreed = agree_on_deflate(offers, settings);
  EXPECT_EQ(agreed ? agreed->answer : "", test::plain_answer(offers, settings));
  return agreed ? agreed->answer : "declined";
}

DeflateParameters parameters(std::string_view header, const DeflateSettings& settings = {}) {
  auto agreed = agree_on_deflate(parse_extension_offers(header), settings);
  return agreed ? agreed->parameters : DeflateParameters{};
}

const DeflateSettings kTakeover = {.takeover = true};
const std::string kAccepted = "permessage-deflate";
const std::string kNoTakeover = "; server_no_context_takeover; client_no_context_takeover";

TEST(DeflateOffer, IsAcceptedWithoutContextTakeoverByDefault) {
  for (std::string_view header :
       {"permessage-deflate", "permessage-deflate; client_max_window_bits",
        "permessage-deflate; server_no_context_takeover",
        "permessage-deflate;client_no_context_takeover;server_no_context_takeover"})
    EXPECT_EQ(answer(header), kAccepted + kNoTakeover) << header;
}

TEST(DeflateOffer, SaysWhatTheConnectionDoes) {
  DeflateParameters agreed = parameters("permessage-deflate");
  EXPECT_TRUE(agreed.agreed());
  EXPECT_FALSE(agreed.server_takeover);
  EXPECT_FALSE(agreed.client_takeover);
  EXPECT_EQ(agreed.server_window_bits, 15);
  EXPECT_EQ(agreed.client_window_bits, 15);
  EXPECT_EQ(agreed.level, 2);
  EXPECT_EQ(agreed.min_size, 256u);
  EXPECT_FALSE(parameters("").agreed());

  agreed = parameters("permessage-deflate; server_max_window_bits=9; client_max_window_bits=12",
                      {.level = 7, .takeover = true, .min_size = 5});
  EXPECT_TRUE(agreed.server_takeover);
  EXPECT_TRUE(agreed.client_takeover);
  EXPECT_EQ(agreed.server_window_bits, 9);
  EXPECT_EQ(agreed.client_window_bits, 12);
  EXPECT_EQ(agreed.level, 7);
  EXPECT_EQ(agreed.min_size, 5u);
}

TEST(DeflateOffer, KeepsContextTakeoverWhereBothWantIt) {
  EXPECT_EQ(answer("permessage-deflate", kTakeover), kAccepted);
  EXPECT_EQ(answer("permessage-deflate; server_no_context_takeover", kTakeover),
            kAccepted + "; server_no_context_takeover");
  EXPECT_EQ(answer("permessage-deflate; client_no_context_takeover", kTakeover),
            kAccepted + "; client_no_context_takeover");
}

TEST(DeflateOffer, LimitsTheServersWindowAsAsked) {
  for (int bits = 8; bits <= 15; bits++) {
    std::string parameter = "; server_max_window_bits=" + std::to_string(bits);
    EXPECT_EQ(answer(kAccepted + parameter), kAccepted + kNoTakeover + parameter);
    EXPECT_EQ(parameters(kAccepted + parameter).server_window_bits, bits);
  }
  EXPECT_EQ(answer("permessage-deflate; server_max_window_bits=\"10\""),
            kAccepted + kNoTakeover + "; server_max_window_bits=10");
  EXPECT_EQ(answer("permessage-deflate; server_max_window_bits=12", {.window_bits = 10}),
            kAccepted + kNoTakeover + "; server_max_window_bits=10");
  EXPECT_EQ(answer("permessage-deflate; server_max_window_bits=10", {.window_bits = 12}),
            kAccepted + kNoTakeover + "; server_max_window_bits=10");
  EXPECT_EQ(answer("permessage-deflate", {.window_bits = 11}),
            kAccepted + kNoTakeover + "; server_max_window_bits=11");
}

TEST(DeflateOffer, LimitsTheClientsWindowOnlyWhereTheClientCanDoThat) {
  for (int bits = 8; bits <= 15; bits++) {
    std::string parameter = "; client_max_window_bits=" + std::to_string(bits);
    EXPECT_EQ(answer(kAccepted + parameter), kAccepted + kNoTakeover + parameter);
    EXPECT_EQ(parameters(kAccepted + parameter).client_window_bits, bits);
  }
  const DeflateSettings narrow = {.window_bits = 11, .takeover = true};
  EXPECT_EQ(answer("permessage-deflate; client_max_window_bits", narrow),
            kAccepted + "; server_max_window_bits=11; client_max_window_bits=11");
  EXPECT_EQ(answer("permessage-deflate; client_max_window_bits=9", narrow),
            kAccepted + "; server_max_window_bits=11; client_max_window_bits=9");
  EXPECT_EQ(answer("permessage-deflate; client_max_window_bits=15", narrow),
            kAccepted + "; server_max_window_bits=11; client_max_window_bits=11");
  EXPECT_EQ(answer("permessage-deflate", narrow), kAccepted + "; server_max_window_bits=11");
  EXPECT_EQ(parameters("permessage-deflate", narrow).client_window_bits, 15);
}

TEST(DeflateOffer, IsDeclinedWithAnUnknownRepeatedOrMalformedParameter) {
  for (std::string parameter :
       {"unknown", "unknown=1", "Server_no_context_takeover", "server_no_context_takeover=1",
        "server_no_context_takeover=\"true\"", "client_no_context_takeover=0",
        "server_no_context_takeover; server_no_context_takeover",
        "client_no_context_takeover; client_no_context_takeover",
        "server_max_window_bits=10; server_max_window_bits=10",
        "client_max_window_bits; client_max_window_bits=10", "server_max_window_bits",
        "server_max_window_bits=", "client_max_window_bits=\"\""})
    EXPECT_EQ(answer("permessage-deflate; " + parameter), "declined") << parameter;
  for (std::string bits : {"7", "0", "16", "20", "015", "08", "-1", "+9", "1", "9.0", "0x9", "9 9",
                           "99999999999", "1a", "1:", "1/"})
    for (std::string name : {"server_max_window_bits", "client_max_window_bits"})
      EXPECT_EQ(answer("permessage-deflate; " + name + "=" + bits), "declined") << name << bits;
}

TEST(DeflateOffer, IsPassedOverForTheNextOneThatCanBeAccepted) {
  EXPECT_EQ(answer("permessage-deflate; server_max_window_bits=7, "
                   "permessage-deflate; server_max_window_bits=10, permessage-deflate"),
            kAccepted + kNoTakeover + "; server_max_window_bits=10");
  EXPECT_EQ(answer("x-webkit-deflate-frame, permessage-bzip2; level=3, permessage-deflate"),
            kAccepted + kNoTakeover);
  EXPECT_EQ(answer("permessage-deflate;;, ,;, =, \"permessage-deflate\", permessage-deflate"),
            kAccepted + kNoTakeover);
}

TEST(DeflateOffer, IsDeclinedWhereCompressionIsOffAndWhereThereIsNone) {
  EXPECT_EQ(answer("permessage-deflate", {.on = false}), "declined");
  for (std::string_view header : {"", "constructor", ",;", "permessage-deflate;;",
                                  "permessage-deflat", "permessage-deflate2", "PERMESSAGE-DEFLATE"})
    EXPECT_EQ(answer(header), "declined") << header;
}

}  // namespace
}  // namespace mws
