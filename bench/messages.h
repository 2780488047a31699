// What the load sends, and how it counts the answers.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>

#include "bench/link.h"
#include "src/protocol/deflate.h"
#include "src/protocol/mask.h"

namespace bench {

inline std::string client_frame(uint8_t first, std::string payload) {
  std::string frame(1, char(first));
  size_t size = payload.size(), extended = size < 126 ? 0 : size < 65536 ? 2 : 8;
  frame += char(0x80 | (extended == 0 ? size : extended == 2 ? 126 : 127));
  for (size_t i = extended; i--;) frame += char(uint64_t(size) >> 8 * i);
  uint32_t key = 0x78563412;
  frame.append(reinterpret_cast<char*>(&key), 4);
  auto* bytes = reinterpret_cast<uint8_t*>(payload.data());
  mws::unmask(bytes, bytes, size, key);
  return frame + payload;
}

inline std::string client_frame(size_t size) {
  std::string payload(size, 0);
  for (size_t i = 0; i < size; i++) payload[i] = char('a' + i % 26);
  return client_frame(0x82, payload);
}

// A text of 1 KB such as an application sends, another for each number, compressed as browsers do.
inline std::string deflated_json_frame(size_t number) {
  std::minstd_rand random{unsigned(number + 1)};
  static const char* const words[] = {"order",   "price",  "customer", "shipping", "address",
                                      "invoice", "status", "pending",  "complete", "warehouse"};
  auto word = [&] { return words[random() % 10]; };
  std::string text = "{\"type\":\"update\",\"at\":" + std::to_string(random()) + ",\"rows\":[";
  for (char row[200]; text.size() < 900; text += row)
    snprintf(row, sizeof row, "{\"id\":%u,\"name\":\"%s %s\",\"price\":%u.%02u,\"open\":%s},",
             unsigned(random() % 1'000'000), word(), word(), unsigned(random() % 1000),
             unsigned(random() % 100), random() % 2 ? "true" : "false");
  text.back() = ']';
  text += ",\"id\":\"";
  while (text.size() < 1022) text += "0123456789abcdef"[random() >> 8 & 15];
  text += "\"}";
  mws::Buffer payload;
  mws::Deflater::make(6, 15, false)->deflate(mws::bytes_of(text), payload);
  return client_frame(0xc1, std::string(mws::text_of(payload.bytes())));
}

// Counts replies of a known size, of which it looks at the headers only.
class ReplyCounter {
 public:
  explicit ReplyCounter(size_t payload)
      : reply_bytes_((payload < 126     ? 2
                      : payload < 65536 ? 4
                                        : 10) +
                     payload) {}

  size_t take(const char* bytes, size_t size) {
    size_t count = 0;
    for (size_t at = 0; at < size;) {
      if (had_ == 0 && bytes[at] != '\x82') fail("a reply starts with byte %#x", bytes[at] & 255);
      size_t part = std::min(reply_bytes_ - had_, size - at);
      at += part;
      had_ += part;
      if (had_ == reply_bytes_) had_ = 0, count++;
    }
    return count;
  }

 private:
  size_t reply_bytes_, had_ = 0;
};

// Counts compressed replies, of which it looks at the headers only.
class DeflatedCounter {
 public:
  explicit DeflatedCounter(uint64_t& bytes) : bytes_(bytes) {}

  size_t take(const char* bytes, size_t size) {
    held_.append(bytes, size);
    size_t count = 0, at = 0;
    for (size_t length; (length = reply_bytes(at)) && held_.size() - at >= length; count++) {
      at += length;
      bytes_ += length;
    }
    held_.erase(0, at);
    return count;
  }

 private:
  // Of the reply at a place, 0 while its header is incomplete.
  size_t reply_bytes(size_t at) const {
    if (held_.size() - at < 4) return 0;
    if (held_[at] != '\xc1') fail("a reply starts with byte %#x", held_[at] & 255);
    size_t length = held_[at + 1];
    return length < 126 ? 2 + length : 4 + (uint8_t(held_[at + 2]) << 8 | uint8_t(held_[at + 3]));
  }

  uint64_t& bytes_;
  std::string held_;
};

// Counts HTTP responses, each of which has to be a 200 with a Content-Length.
class ResponseCounter {
 public:
  size_t take(const char* bytes, size_t size) {
    held_.append(bytes, size);
    size_t count = 0;
    for (size_t whole; (whole = first_bytes()) && held_.size() >= whole; count++)
      held_.erase(0, whole);
    return count;
  }

 private:
  // The length of the first response, 0 while its headers are incomplete.
  size_t first_bytes() const {
    size_t end = held_.find("\r\n\r\n"), length = held_.find("\r\nContent-Length: ");
    if (end == held_.npos) return 0;
    if (!held_.starts_with("HTTP/1.1 200 ") || length > end) fail("answer: %.60s", held_.c_str());
    return end + 4 + strtoul(held_.c_str() + length + 18, nullptr, 10);
  }

  std::string held_;
};

}  // namespace bench
