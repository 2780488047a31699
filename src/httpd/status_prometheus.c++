// The status in Prometheus' text format, version 0.0.4.
#include <functional>

#include "src/httpd/status.h"
#include "src/httpd/status_text.h"

namespace mws {

namespace {

std::string escaped(std::string_view value) {
  std::string text;
  for (char each : value) {
    if (each == '\n') text += "\\n";
    else if (each == '"' || each == '\\') text += {'\\', each};
    else text += each;
  }
  return text;
}

// Labels are written `a="1",b="2"`.
std::string label(const char* name, std::string_view value) {
  return std::string(name) + "=\"" + escaped(value) + '"';
}

class Prometheus {
 public:
  explicit Prometheus(const Snapshot& now) : now_(now) {
    for (const auto& each : now.locations)
      places_.push_back(label("server", each->name.server) + "," +
                        label("location", each->name.location));
  }

  void metric(const char* name, const char* type, const char* help) {
    name_ = std::string("websocket_") + name;
    text_ += "# HELP " + name_ + " " + help + "\n# TYPE " + name_ + " " + type + "\n";
  }
  void sample(const std::string& labels, double value, const char* suffix = "") {
    text_ += name_ + suffix;
    if (!labels.empty()) text_ += "{" + labels + "}";
    text_ += ' ';
    append_number(text_, value);
    text_ += '\n';
  }
  void samples(const std::string& labels, const Histogram& histogram) {
    std::string before = labels.empty() ? "" : labels + ",";
    uint64_t below = 0;
    for (size_t i = 0; i < Histogram::kBounds; i++) {
      std::string bound;
      append_number(bound, seconds(Histogram::bound_ns(i)));
      sample(before + label("le", bound), double(below += histogram.counts[i].value()), "_bucket");
    }
    double all = double(below + histogram.counts[Histogram::kBounds].value());
    sample(before + label("le", "+Inf"), all, "_bucket");
    sample(labels, seconds(histogram.sum_ns.value()), "_sum");
    sample(labels, all, "_count");
  }

  // For each location, each(labels, counters).
  template <class Each>
  void by_location(Each each) {
    for (size_t i = 0; i < places_.size(); i++) each(places_[i], now_.locations[i]->counters);
  }
  void by_location(Counter Counters::*counter) {
    by_location([&](const std::string& place, const Counters& counters) {
      sample(place, double((counters.*counter).value()));
    });
  }
  // Of an array of counters, with a label each.
  template <class Array, class Name>
  void by_location(Array Counters::*array, const char* of, Name name) {
    by_location([&](const std::string& place, const Counters& counters) {
      for (size_t i = 0; i < (counters.*array).size(); i++)
        sample(place + "," + label(of, name(i)), double((counters.*array)[i].value()));
    });
  }
  void by_direction(std::array<Counter, 2> Counters::*array, double unit = 1) {
    by_location([&](const std::string& place, const Counters& counters) {
      for (size_t i : {Counters::received, Counters::sent})
        sample(place + "," + label("direction", kDirectionNames[i]),
               double((counters.*array)[i].value()) / unit);
    });
  }
  void by_kind(std::array<std::array<Counter, 2>, 2> Counters::*array) {
    by_location([&](const std::string& place, const Counters& counters) {
      for (size_t direction : {Counters::received, Counters::sent})
        for (size_t kind : {Counters::text, Counters::binary})
          sample(place + "," + label("direction", kDirectionNames[direction]) + "," +
                     label("type", kKindNames[kind]),
                 double((counters.*array)[direction][kind].value()));
    });
  }

  std::string take() { return std::move(text_); }

 private:
  const Snapshot& now_;
  std::vector<std::string> places_;
  std::string name_, text_;
};

void tell_server(Prometheus& to, const Snapshot& now) {
  to.metric("build_info", "gauge", "1; the version of mod_websocket is a label.");
  to.sample(label("version", WEBSOCKET_VERSION), 1);
  to.metric("start_time_seconds", "gauge", "When the server was started, since 1970.");
  to.sample("", double(now.started / 1000) / 1000);
  constexpr const char* kStates[] = {"serving", "leaving", "draining"};
  auto by_state = [&](auto of_child) {
    for (const char* state : kStates) {
      double sum = 0;
      for (const auto& child : now.children)
        if (state_of(child.is) == std::string_view(state)) sum += of_child(child);
      to.sample(label("state", state), sum);
    }
  };
  to.metric("children", "gauge", "Child processes, by what becomes of them.");
  by_state([](const auto&) { return 1.0; });
  to.metric("children_connections", "gauge", "Open WebSockets, by what becomes of their child.");
  by_state([](const auto& child) { return double(child.open); });
  to.metric("log_lines_lost_total", "counter", "Lines that could not be written to WebSocketLog.");
  to.sample("", double(now.log_lines_lost));
  to.metric("loop_turn_seconds", "histogram",
            "How long what became ready next had to wait for its event loop.");
  to.samples("", now.loops.turn);
}

void tell_connections(Prometheus& to) {
  auto mooring = [](size_t i) { return name_of(Mooring(i)); };
  to.metric("connections", "gauge", "Open WebSockets.");
  to.by_location(&Counters::open, "mooring", mooring);
  to.metric("connections_opened_total", "counter", "WebSockets that were opened.");
  to.by_location(&Counters::opened, "mooring", mooring);
  to.metric("connections_closed_total", "counter", "WebSockets that have ended, by close code.");
  to.by_location(&Counters::closed, "code", name_of_code);
  to.metric("connections_ended_total", "counter", "WebSockets that have ended, by cause.");
  to.by_location(&Counters::causes, "cause", [](size_t i) { return name_of(Cause(i)); });
  to.metric("handshakes_refused_total", "counter", "Opening handshakes that were refused.");
  to.by_location(&Counters::refused, "reason", [](size_t i) { return name_of(Refusal(i)); });
}

void tell_messages(Prometheus& to) {
  to.metric("messages_total", "counter", "Messages.");
  to.by_kind(&Counters::messages);
  to.metric("message_bytes_total", "counter", "Payload of messages, not compressed.");
  to.by_kind(&Counters::bytes);
  to.metric("pings_sent_total", "counter", "Pings to clients.");
  to.by_location(&Counters::pings_sent);
  to.metric("pings_received_total", "counter", "Pings of clients.");
  to.by_location(&Counters::pings_received);
  to.metric("pongs_received_total", "counter", "Pongs of clients.");
  to.by_location(&Counters::pongs_received);
  to.metric("deflate_raw_bytes_total", "counter",
            "Payload of messages that were compressed, before that.");
  to.by_direction(&Counters::deflate_raw_bytes);
  to.metric("deflate_wire_bytes_total", "counter",
            "Payload of messages that were compressed, after that.");
  to.by_direction(&Counters::deflate_wire_bytes);
  to.metric("deflate_seconds_total", "counter", "Time that compression and decompression took.");
  to.by_direction(&Counters::deflate_ns, 1e9);
}

void tell_flow(Prometheus& to) {
  to.metric("buffered_bytes", "gauge", "Bytes that wait for clients to read them.");
  to.by_location(&Counters::buffered_bytes);
  to.metric("messages_dropped_total", "counter", "Messages for clients that read too slowly.");
  to.by_location(&Counters::dropped);
  to.metric("read_pauses_total", "counter",
            "How often a client was not read: it read too slowly (slow), or sent too much (rate).");
  to.by_location([&](const std::string& place, const Counters& counters) {
    to.sample(place + "," + label("reason", "slow"), double(counters.slow_pauses.value()));
    to.sample(place + "," + label("reason", "rate"), double(counters.rate_pauses.value()));
  });
  to.metric("round_trip_seconds", "histogram", "From a ping to its pong.");
  to.by_location([&](const std::string& place, const Counters& counters) {
    to.samples(place, counters.round_trip);
  });
  to.metric("handler_seconds", "histogram",
            "How long the handler took for a message; on event loops a sample of them.");
  to.by_location([&](const std::string& place, const Counters& counters) {
    to.samples(place, counters.handler);
  });
}

}  // namespace

std::string status_prometheus(const Snapshot& now) {
  Prometheus to(now);
  tell_server(to, now);
  tell_connections(to);
  tell_messages(to);
  tell_flow(to);
  return to.take();
}

}  // namespace mws
