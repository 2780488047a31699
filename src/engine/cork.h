// What is sent to one connection while one of its reads is dispatched, gathered so that it leaves
// in one write. One per loop; it belongs to one connection at a time. Small pieces are copied
// together, large ones from the loop's receive buffer are referred to, as that memory stays until
// the read has been dispatched. So is a small one as long as it is the only one, where there is
// room in front of it for its header.
#pragma once
#include <sys/uio.h>

#include <array>
#include <cstring>
#include <memory>
#include <span>

#include "src/base/bytes.h"

namespace mws {

class Cork {
 public:
  static constexpr size_t kBytes = 64 * 1024;
  static constexpr size_t kReferFrom = 2048;  // bytes; below it, copying costs less

  // Instead of add() where nothing is gathered: the payload stays, and in front of it is room for
  // the header, which is written there.
  void begin_in_place(Bytes header, Bytes payload) {
    auto* at = const_cast<uint8_t*>(payload.data()) - header.size();
    memcpy(at, header.data(), header.size());
    bytes_ = header.size() + payload.size();
    pieces_[0] = {at, bytes_};
    count_ = 1;
    lone_ = bytes_ < kReferFrom;
  }

  // False if there is no room: take pieces(), write them, clear(), and try again or write directly.
  bool add(Bytes header, Bytes payload, bool payload_stays) {
    if (lone_) copy_lone();
    bool refer = payload_stays && payload.size() >= kReferFrom;
    size_t copied = header.size() + (refer ? 0 : payload.size());
    if (used_ + copied > kBytes || count_ + 2 > pieces_.size()) return false;
    uint8_t* at = memory_.get() + used_;
    memcpy(at, header.data(), header.size());
    if (!refer && !payload.empty()) memcpy(at + header.size(), payload.data(), payload.size());
    used_ += copied;
    if (joins_) {
      pieces_[count_ - 1].iov_len += copied;
    } else {
      pieces_[count_++] = {at, copied};
    }
    joins_ = !refer;
    if (refer) pieces_[count_++] = {const_cast<uint8_t*>(payload.data()), payload.size()};
    bytes_ += header.size() + payload.size();
    return true;
  }

  std::span<const iovec> pieces() const { return {pieces_.data(), count_}; }
  size_t bytes() const { return bytes_; }
  void clear() {
    count_ = used_ = bytes_ = 0;
    joins_ = lone_ = false;
  }

 private:
  void copy_lone() {
    lone_ = false;
    joins_ = true;
    used_ = bytes_;
    memcpy(memory_.get(), pieces_[0].iov_base, used_);
    pieces_[0].iov_base = memory_.get();
  }

  std::unique_ptr<uint8_t[]> memory_{new uint8_t[kBytes]};
  std::array<iovec, 64> pieces_;
  size_t count_ = 0, used_ = 0, bytes_ = 0;
  bool joins_ = false;  // the last piece is copied and can grow
  bool lone_ = false;   // the only piece is a small one that was not copied
};

}  // namespace mws
