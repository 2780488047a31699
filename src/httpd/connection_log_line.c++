#include "src/httpd/connection_log_line.h"

#include <algorithm>
#include <array>

#include "src/base/connection_id.h"
#include "src/handler/peer.h"
#include "src/httpd/sites.h"
#include "src/httpd/status_text.h"
#include "src/protocol/utf8.h"
#include "src/pubsub/delivery.h"

namespace mws {

namespace {

constexpr std::array kNames = {"event",
                               "id",
                               "unique_id",
                               "opened",
                               "address",
                               "user",
                               "server",
                               "location",
                               "path",
                               "subprotocol",
                               "extensions",
                               "tls",
                               "mooring",
                               "closed",
                               "duration_seconds",
                               "code",
                               "reason",
                               "clean",
                               "cause",
                               "messages",
                               "bytes",
                               "most_buffered_bytes",
                               "round_trip_seconds"};

// As a JSON string of at most so many bytes, with U+FFFD for each byte that is not UTF-8, and "…"
// for what is left out.
void append_text(std::string& to, std::string_view text, size_t most_bytes) {
  size_t begin = to.size();
  if (is_utf8(bytes_of(text))) {
    append_quoted(to, text);
    if (to.size() - begin <= most_bytes) return;
    to.resize(begin);
  }
  constexpr std::string_view kLeftOut = "…", kNone = "\uFFFD";
  to += '"';
  while (!text.empty()) {
    auto first = uint8_t(text[0]);
    size_t size = first < 0xc0 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    std::string_view character = text.substr(0, size);
    if (!is_utf8(bytes_of(character))) {
      size = 1;
      character = kNone;
    }
    std::string quoted;
    append_quoted(quoted, character);
    if (to.size() - begin + quoted.size() - 2 + kLeftOut.size() >= most_bytes) {
      to += kLeftOut;
      break;
    }
    to.append(quoted, 1, quoted.size() - 2);
    text.remove_prefix(size);
  }
  to += '"';
}

// RFC 3339, of UTC, with milliseconds.
std::string time_text(apr_time_t time) {
  apr_time_exp_t parts;
  apr_time_exp_gmt(&parts, time);
  char text[48];
  snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", parts.tm_year + 1900,
           parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
           parts.tm_usec / 1000);
  return text;
}

class Line {
 public:
  Line(const Connection& connection, const ConnectionEnd* end, size_t most_text_bytes)
      : connection_(connection),
        end_(end),
        facts_(static_cast<const ws_connection&>(*connection.attachment()).facts),
        most_text_bytes_(most_text_bytes) {}

  // Nothing where the field is not known yet.
  void add(LogField field, std::string_view unique_id, apr_time_t opened) {
    if (!end_ && field >= LogField::closed) return;
    line_ += line_.empty() ? '{' : ',';
    append_quoted(line_, name_of(field));
    line_ += ':';
    switch (field) {
      case LogField::event: return text(end_ ? "end" : "start");
      case LogField::id: return text(id_text(connection_.id()).data());
      case LogField::unique_id: return unique_id.empty() ? null() : text(unique_id);
      case LogField::opened: return text(time_text(opened));
      case LogField::address: return fact(WS_REMOTE_ADDRESS);
      case LogField::user: return fact(WS_USER);
      case LogField::server: return text(site_name(connection_.site().number).server);
      case LogField::location: return text(site_name(connection_.site().number).location);
      case LogField::path: return fact(WS_PATH);
      case LogField::subprotocol: return fact(WS_SUBPROTOCOL);
      case LogField::extensions: return fact(WS_EXTENSIONS);
      case LogField::tls: return fact(WS_TLS_VERSION);
      case LogField::mooring: return text(mws::name_of(connection_.mooring()));
      default: add_of_end(field);
    }
  }
  std::string take() {
    line_ += line_.empty() ? "{}\n" : "}\n";
    return std::move(line_);
  }

 private:
  void add_of_end(LogField field) {
    const Connection::Totals& totals = connection_.totals();
    switch (field) {
      case LogField::closed: return text(time_text(apr_time_now()));
      case LogField::duration_seconds: return number(double(connection_.age_ms()) / 1e3);
      case LogField::code: return number(uint64_t(end_->code));
      case LogField::reason: return text(end_->reason);
      case LogField::clean: line_ += end_->clean ? "true" : "false"; return;
      case LogField::cause: return text(mws::name_of(connection_.cause()));
      case LogField::messages: return both(totals.messages);
      case LogField::bytes: return both(totals.bytes);
      case LogField::most_buffered_bytes: return number(uint64_t(totals.most_buffered));
      default:
        if (!totals.round_trip_us) return null();
        number(double(totals.round_trip_us) / 1e6);
    }
  }
  void null() { line_ += "null"; }
  void number(uint64_t value) { line_ += std::to_string(value); }
  void number(double value) { append_number(line_, value); }
  void text(std::string_view value) { append_text(line_, value, most_text_bytes_); }
  void fact(ws_fact which) {
    ws_text value = facts_.fact(which);
    if (value.data) text({value.data, value.size});
    else null();
  }
  void both(const auto& values) {
    for (size_t direction : {Counters::received, Counters::sent}) {
      line_ += direction == Counters::received ? "{\"" : ",\"";
      (line_ += kDirectionNames[direction]) += "\":";
      number(uint64_t(values[direction]));
    }
    line_ += '}';
  }

  const Connection& connection_;
  const ConnectionEnd* end_;
  const KeptFacts& facts_;
  const size_t most_text_bytes_;
  std::string line_;
};

}  // namespace

const LogFields& all_log_fields() {
  static const LogFields all = [] {
    LogFields fields;
    for (size_t i = 0; i < kNames.size(); i++) fields.push_back(LogField(i));
    return fields;
  }();
  return all;
}

const char* name_of(LogField field) { return kNames[size_t(field)]; }

std::optional<LogField> log_field_of(std::string_view name) {
  auto found = std::ranges::find(kNames, name);
  if (found == kNames.end()) return std::nullopt;
  return LogField(found - kNames.begin());
}

std::string connection_line(const Connection& connection, std::string_view unique_id,
                            apr_time_t opened, const LogFields& fields, const ConnectionEnd* end) {
  for (size_t most_text_bytes = kMaxLogLine;; most_text_bytes /= 2) {
    Line line(connection, end, most_text_bytes);
    for (LogField field : fields) line.add(field, unique_id, opened);
    std::string whole = line.take();
    // All fields, each with 128 bytes of text, fit.
    if (whole.size() <= kMaxLogLine) return whole;
  }
}

}  // namespace mws
