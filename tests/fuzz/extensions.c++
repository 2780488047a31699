// Sec-WebSocket-Extensions: the offers that are read, and the answer to them, are those of the
// plain readers.
//
// The input: what the location wants of compression, in one byte; the header.
#include "src/protocol/deflate_offer.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/plain_header.h"

namespace mws::fuzz {
namespace {

// What was agreed on, as an answer says it.
std::string said(const DeflateParameters& agreed) {
  std::string out = "permessage-deflate";
  if (!agreed.server_takeover) out += "; server_no_context_takeover";
  if (!agreed.client_takeover) out += "; client_no_context_takeover";
  if (agreed.server_window_bits != 15)
    out += "; server_max_window_bits=" + std::to_string(agreed.server_window_bits);
  if (agreed.client_window_bits != 15)
    out += "; client_max_window_bits=" + std::to_string(agreed.client_window_bits);
  return out;
}

void negotiate(const std::vector<ExtensionOffer>& offers, const DeflateSettings& settings) {
  auto agreement = agree_on_deflate(offers, settings);
  demand_same("the answer", test::plain_answer(offers, settings),
              agreement ? agreement->answer : "");
  if (!agreement) return;

  // The connection does what the answer says, in which the largest window may be written out.
  std::string answer = agreement->answer;
  for (std::string side : {"server", "client"}) {
    std::string largest = "; " + side + "_max_window_bits=15";
    if (size_t at = answer.find(largest); at != answer.npos) answer.erase(at, largest.size());
  }
  demand_same("what was agreed on", answer, said(agreement->parameters));
}

}  // namespace
}  // namespace mws::fuzz

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace mws;
  fuzz::Input input{{data, size}};
  unsigned wanted = input.next();
  DeflateSettings settings{.on = wanted % 16 != 15,
                           .window_bits = 15 - int(wanted / 16 % 7),
                           .takeover = wanted % 2 == 1};
  fuzz::Copy header(input.rest);
  std::vector<ExtensionOffer> offers = parse_extension_offers(header.text());
  fuzz::demand_same("the offers", test::offers_text(test::plain_offers(std::string(header.text()))),
                    test::offers_text(offers));
  fuzz::negotiate(offers, settings);
  return 0;
}
