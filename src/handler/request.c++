#include "src/handler/request.h"

#include <cstring>

#include "src/protocol/header_list.h"

namespace mws {

namespace {
size_t count(const char* const* names) {
  size_t n = 0;
  while (names && names[n]) n++;
  return n;
}
}  // namespace

HandlerAttachment::HandlerAttachment(const HandshakeRequest& request,
                                     const char* const* keep_headers)
    : keep_headers_(keep_headers) {
  std::vector<ws_text> texts(request.facts.begin(), request.facts.end());
  for (size_t i = 0; i < count(keep_headers); i++) texts.push_back(request.header(keep_headers[i]));

  size_t size = texts.size() * sizeof(uint32_t);
  for (const ws_text& text : texts)
    if (text.data) size += text.size + 1;
  block_.reset(new char[size]);
  char* at = block_.get() + texts.size() * sizeof(uint32_t);
  for (size_t i = 0; i < texts.size(); i++) {
    uint32_t length = texts[i].data ? uint32_t(texts[i].size) : kNothing;
    memcpy(block_.get() + i * sizeof length, &length, sizeof length);
    if (length == kNothing) continue;
    memcpy(at, texts[i].data, length);
    at[length] = 0;
    at += length + 1;
  }
}

ws_text HandlerAttachment::fact(ws_fact fact) const {
  return size_t(fact) < kFacts ? text(size_t(fact)) : ws_text{};
}

ws_text HandlerAttachment::header(const char* name) const {
  for (size_t i = 0; name && keep_headers_ && keep_headers_[i]; i++)
    if (equal_ignoring_case(keep_headers_[i], name)) return text(kFacts + i);
  return {};
}

ws_text HandlerAttachment::text(size_t index) const {
  size_t texts = kFacts + count(keep_headers_);
  const char* at = block_.get() + texts * sizeof(uint32_t);
  for (size_t i = 0;; i++) {
    uint32_t length;
    memcpy(&length, block_.get() + i * sizeof length, sizeof length);
    if (i == index) return length == kNothing ? ws_text{} : ws_text{at, length};
    if (length != kNothing) at += length + 1;
  }
}

}  // namespace mws
