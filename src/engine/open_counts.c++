#include "src/engine/open_counts.h"

#include <bit>
#include <cerrno>
#include <csignal>
#include <random>

#include "src/engine/process.h"
#include "src/engine/shared_lock.h"

namespace mws {

// Indexes of rows count from 1; 0 is none.
struct OpenCounts::Header {
  Sizes sizes;
  size_t seats_at, buckets_at, rows_at, site_counts_at;  // from the start
  uint32_t buckets;
  uint64_t seed;
  pthread_mutex_t lock;
  std::atomic<uint32_t> lives;  // that have begun
  std::atomic<uint32_t> seats_used;
  // Under lock:
  std::atomic<uint32_t> rows_used;  // those above were never in use
  std::atomic<uint32_t> free_rows;
  uint32_t hand;  // where the search for rows of the dead goes on
};

// Only the process that made it changes it; once that is gone, whoever comes across it drops it.
struct OpenCounts::Row {
  uint64_t bits;
  uint32_t life;
  uint32_t seat : 19, kind : 2, site : 11;
  std::atomic<uint32_t> next;   // in its bucket, or of those that are free
  std::atomic<uint32_t> count;  // 0: free; the last thing to be set, and the first to be taken back

  Network network() const { return {Network::Kind(kind), bits}; }
};

// Of one location and process: what the rows say, added up. Means nothing once the life is over.
struct OpenCounts::SiteCount {
  std::atomic<uint32_t> life, count;
};

// Whoever dies with it leaves nothing to repair: every store leaves the rows of those that live in
// their buckets and their counts right. A row may be lost with him; free_row() finds it again.
class OpenCounts::Lock : private SharedLock {
 public:
  explicit Lock(OpenCounts& counts) : SharedLock(counts.header_.lock, [] {}) {}
};

// --- Where everything is ---

namespace {

size_t aligned(size_t size) { return (size + 63) / 64 * 64; }

template <class T>
T* at(void* memory, size_t offset) {
  return reinterpret_cast<T*>(static_cast<uint8_t*>(memory) + offset);
}

}  // namespace

size_t OpenCounts::bytes_for(const Sizes& sizes) {
  return aligned(sizeof(Header)) + aligned(sizes.seats * sizeof(uint64_t)) +
         aligned(std::bit_ceil(sizes.rows) * sizeof(uint32_t)) + aligned(sizes.rows * sizeof(Row)) +
         size_t(sizes.sites) * sizes.seats * sizeof(SiteCount);
}

void OpenCounts::lay_out(void* memory, const Sizes& sizes) {
  auto& header = *static_cast<Header*>(memory);
  header.sizes = sizes;
  header.buckets = std::bit_ceil(sizes.rows);
  header.seats_at = aligned(sizeof(Header));
  header.buckets_at = header.seats_at + aligned(sizes.seats * sizeof(uint64_t));
  header.rows_at = header.buckets_at + aligned(header.buckets * sizeof(uint32_t));
  header.site_counts_at = header.rows_at + aligned(sizes.rows * sizeof(Row));
  std::random_device random;
  header.seed = uint64_t(random()) << 32 | random();
  make_shared_mutex(header.lock);
}

OpenCounts::OpenCounts(void* memory)
    : header_(*static_cast<Header*>(memory)),
      seats_(at<std::atomic<uint64_t>>(memory, header_.seats_at)),
      buckets_(at<std::atomic<uint32_t>>(memory, header_.buckets_at)),
      rows_(at<Row>(memory, header_.rows_at)),
      site_counts_(at<SiteCount>(memory, header_.site_counts_at)) {}

OpenCounts::Row& OpenCounts::row_at(uint32_t index) const { return rows_[index - 1]; }

std::atomic<uint32_t>& OpenCounts::bucket_of(const Network& network) const {
  return buckets_[network.hash(header_.seed) & (header_.buckets - 1)];
}

OpenCounts::SiteCount& OpenCounts::site_count(uint32_t site, uint32_t seat) const {
  return site_counts_[size_t(site) * header_.sizes.seats + seat];
}

// --- Seats: process << 32 | life ---

bool OpenCounts::enter(pid_t process) {
  uint64_t life = ++header_.lives;
  for (uint32_t i = 0; i < header_.sizes.seats; i++) {
    uint64_t before = seats_[i];
    pid_t holder = pid_t(before >> 32);
    if (holder && holder != process && !has_ended(holder)) continue;
    if (!seats_[i].compare_exchange_strong(before, uint64_t(process) << 32 | life)) continue;
    uint32_t used = header_.seats_used;
    while (used < i + 1 && !header_.seats_used.compare_exchange_weak(used, i + 1)) {
    }
    seat_ = i;
    life_ = uint32_t(life);
    return true;
  }
  return false;
}

void OpenCounts::leave(pid_t process) {
  for (uint32_t i = 0; i < header_.seats_used; i++) {
    uint64_t seat = seats_[i];
    if (pid_t(seat >> 32) == process && seats_[i].compare_exchange_strong(seat, 0)) return;
  }
}

bool OpenCounts::lives(const Row& row) const {
  return row.count && lives(seats_[row.seat], row.life);
}

// --- Counting ---

OpenCounts::Opened OpenCounts::open(const Newcomer& newcomer) {
  if (!life_) return {Answer::no_room};
  Network network = newcomer.network;
  if (network.kind == Network::none) network.bits = newcomer.site;
  Lock hold(*this);
  uint32_t own = 0;
  uint64_t of_network = sum_of_network(network, newcomer.site, own);
  if (newcomer.max_of_network && network.kind != Network::none &&
      of_network >= newcomer.max_of_network)
    return {Answer::network};
  if (newcomer.max_of_site && sum_of_site(newcomer.site) >= newcomer.max_of_site)
    return {Answer::site};
  if (own) row_at(own).count++;
  else own = new_row(network, newcomer.site);
  if (!own) return {Answer::no_room};
  add_to_site(newcomer.site, 1);
  return {Answer::counted, own};
}

void OpenCounts::close(uint32_t index) {
  Lock hold(*this);
  Row& row = row_at(index);
  if (row.life != life_ || !row.count) return;  // this process has left, and somebody dropped it
  add_to_site(row.site, uint32_t(-1));
  if (row.count > 1) row.count--;
  else drop(index);
}

void OpenCounts::add_to_site(uint32_t site, uint32_t count) {
  SiteCount& sum = site_count(site, seat_);
  if (sum.life != life_) {
    sum.count = 0;
    sum.life = life_;
  }
  sum.count += count;
}

uint64_t OpenCounts::sum_of_site(uint32_t site) const {
  uint64_t all = 0;
  for (uint32_t i = 0; i < header_.seats_used; i++)
    if (const SiteCount& each = site_count(site, i); lives(seats_[i], each.life)) all += each.count;
  return all;
}

// own: this process's row for that network and location, if there is one.
uint64_t OpenCounts::sum_of_network(const Network& network, uint32_t site, uint32_t& own) {
  uint64_t all = 0;
  uint32_t next = 0;
  for (uint32_t index = bucket_of(network); index; index = next) {
    Row& row = row_at(index);
    next = row.next;
    if (!lives(row)) {
      drop(index);
      continue;
    }
    if (row.network() != network) continue;
    all += row.count;
    if (row.life == life_ && row.site == site) own = index;
  }
  return all;
}

uint64_t OpenCounts::of_network(const Network& network) {
  Lock hold(*this);
  uint32_t own = 0;
  return sum_of_network(network, 0, own);
}

uint64_t OpenCounts::of_site(uint32_t site) {
  Lock hold(*this);
  return sum_of_site(site);
}

// --- Rows ---

uint32_t OpenCounts::new_row(const Network& network, uint32_t site) {
  uint32_t index = free_row();
  if (!index) return 0;
  Row& row = row_at(index);
  row.bits = network.bits;
  row.kind = network.kind;
  row.site = site & 2047;
  row.seat = seat_ & ((1 << 19) - 1);
  row.life = life_;
  row.count = 1;
  std::atomic<uint32_t>& bucket = bucket_of(network);
  row.next = bucket.load();
  bucket = index;
  return index;
}

// 0: none, as far as can be seen by a look at some.
uint32_t OpenCounts::free_row() {
  if (!header_.free_rows && header_.rows_used < header_.sizes.rows) return ++header_.rows_used;
  constexpr uint32_t kLooked = 1024;
  for (uint32_t i = 0; i < kLooked && !header_.free_rows; i++) {
    header_.hand = header_.hand % header_.sizes.rows + 1;
    if (!lives(row_at(header_.hand))) drop(header_.hand);
  }
  uint32_t index = header_.free_rows;
  if (index) header_.free_rows = row_at(index).next.load();
  return index;
}

void OpenCounts::put_back(uint32_t index) {
  row_at(index).count = 0;
  row_at(index).next = header_.free_rows.load();
  header_.free_rows = index;
}

// Out of its bucket, and free.
void OpenCounts::drop(uint32_t index) {
  std::atomic<uint32_t>* before = &bucket_of(row_at(index).network());
  while (*before && *before != index) before = &row_at(*before).next;
  if (*before) *before = row_at(index).next.load();
  put_back(index);
}

}  // namespace mws
