// The status as JSON.
#include "src/httpd/status.h"
#include "src/httpd/status_text.h"
#include "src/pubsub/delivery.h"

namespace mws {

namespace {

class Json {
 public:
  // Between begin and end stand an object's members, with keys, or an array's elements, without.
  Json& begin(const char* key, char bracket) {
    member(key);
    text_ += bracket;
    return *this;
  }
  void end(char bracket) { text_ += bracket; }
  void number(const char* key, uint64_t value) { member(key) += std::to_string(value); }
  void number(const char* key, double value) { append_number(member(key), value); }
  void text(const char* key, std::string_view value) { append_quoted(member(key), value); }

  std::string take() { return std::move(text_); }

 private:
  std::string& member(const char* key) {
    if (!text_.empty() && text_.back() != '{' && text_.back() != '[') text_ += ',';
    if (key) append_quoted(text_, key);
    if (key) text_ += ':';
    return text_;
  }

  std::string text_;
};

void add_moorings(Json& json, const char* key, const std::array<Counter, kMoorings>& counters) {
  json.begin(key, '{');
  for (size_t i = 0; i < kMoorings; i++) json.number(name_of(Mooring(i)), counters[i].value());
  json.end('}');
}

void add_kinds(Json& json, const char* key, const std::array<std::array<Counter, 2>, 2>& counters) {
  json.begin(key, '{');
  for (size_t direction : {Counters::received, Counters::sent}) {
    json.begin(kDirectionNames[direction], '{');
    for (size_t kind : {Counters::text, Counters::binary})
      json.number(kKindNames[kind], counters[direction][kind].value());
    json.end('}');
  }
  json.end('}');
}

void add_ends(Json& json, const Counters& counters) {
  json.begin("closed", '{').begin("codes", '{');
  for (size_t i = 0; i < kCodes; i++)
    json.number(name_of_code(i).c_str(), counters.closed[i].value());
  json.end('}');
  json.begin("causes", '{');
  for (size_t i = 0; i < kCauses; i++) json.number(name_of(Cause(i)), counters.causes[i].value());
  json.end('}');
  json.end('}');
  json.begin("refused", '{');
  for (size_t i = 0; i < kRefusals; i++)
    json.number(name_of(Refusal(i)), counters.refused[i].value());
  json.end('}');
}

void add_deflate(Json& json, const Counters& counters) {
  json.begin("deflate", '{');
  for (size_t i : {Counters::received, Counters::sent}) {
    json.begin(kDirectionNames[i], '{');
    json.number("raw_bytes", counters.deflate_raw_bytes[i].value());
    json.number("wire_bytes", counters.deflate_wire_bytes[i].value());
    json.number("seconds", seconds(counters.deflate_ns[i].value()));
    json.end('}');
  }
  json.end('}');
}

void add_histogram(Json& json, const char* key, const Histogram& histogram) {
  json.begin(key, '{').begin("bounds", '[');
  for (size_t i = 0; i < Histogram::kBounds; i++)
    json.number(nullptr, seconds(Histogram::bound_ns(i)));
  json.end(']');
  json.begin("counts", '[');
  for (const Counter& count : histogram.counts) json.number(nullptr, count.value());
  json.end(']');
  json.number("sum", seconds(histogram.sum_ns.value()));
  json.number("count", sum_of(histogram.counts));
  json.end('}');
}

void add_counters(Json& json, const Counters& counters) {
  add_moorings(json, "open", counters.open);
  add_moorings(json, "opened", counters.opened);
  add_ends(json, counters);
  add_kinds(json, "messages", counters.messages);
  add_kinds(json, "bytes", counters.bytes);
  json.number("pings_sent", counters.pings_sent.value());
  json.number("pings_received", counters.pings_received.value());
  json.number("pongs_received", counters.pongs_received.value());
  json.number("dropped", counters.dropped.value());
  json.number("slow_pauses", counters.slow_pauses.value());
  json.number("rate_pauses", counters.rate_pauses.value());
  json.number("buffered_bytes", counters.buffered_bytes.value());
  add_deflate(json, counters);
  add_histogram(json, "round_trip_seconds", counters.round_trip);
  add_histogram(json, "handler_seconds", counters.handler);
}

void add_children(Json& json, const Snapshot& now) {
  json.begin("children", '[');
  for (const auto& child : now.children) {
    json.begin(nullptr, '{');
    json.number("pid", uint64_t(child.is.pid));
    json.number("generation", uint64_t(child.is.generation));
    json.text("state", state_of(child.is));
    json.number("open", child.open);
    json.number("buffered_bytes", child.buffered_bytes);
    json.end('}');
  }
  json.end(']');
}

}  // namespace

std::string status_json(const Snapshot& now) {
  Json json;
  json.begin(nullptr, '{');
  json.text("version", WEBSOCKET_VERSION);
  json.number("time", double(now.time / 1000) / 1000);
  json.number("started", uint64_t(now.started / APR_USEC_PER_SEC));
  add_children(json, now);
  json.begin("total", '{');
  add_counters(json, now.total);
  json.end('}');
  json.begin("locations", '[');
  for (const auto& each : now.locations) {
    json.begin(nullptr, '{');
    json.text("server", each->name.server);
    json.text("location", each->name.location);
    add_counters(json, each->counters);
    json.end('}');
  }
  json.end(']');
  add_histogram(json, "turn_seconds", now.loops.turn);
  json.number("log_lines_lost", now.log_lines_lost);
  json.end('}');
  return json.take();
}

}  // namespace mws
