#include "src/httpd/metrics.h"

#include <apr_time.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <optional>

#include "src/engine/counter_blocks.h"
#include "src/engine/process.h"

namespace mws {

namespace {

// Pages that nobody writes to take no memory.
constexpr size_t kBlocks = 32 * 1024, kLoopBlocks = 4096;

// The name changes with the layout: after a graceful restart with a newer module, each counts for
// itself.
constexpr const char* kCountersKey = "mod_websocket-counters-1";

struct alignas(64) Shared {
  apr_time_t started;
  Counter log_lines_lost;
  // For those who find no block. Several write at a time, so that some of it gets lost, and what is
  // there now cannot be told.
  std::array<Counters, kMaxSites> crowd;
  LoopCounters loop_crowd;
};

struct Arena {
  explicit Arena(std::byte* memory)
      : shared(*reinterpret_cast<Shared*>(memory)),
        blocks(memory + sizeof(Shared), kBlocks),
        loops(memory + sizeof(Shared) + size_of_blocks(), kLoopBlocks) {}
  static size_t size_of_blocks() { return (Blocks<Counters>::bytes_for(kBlocks) + 63) / 64 * 64; }
  static size_t bytes() {
    return sizeof(Shared) + size_of_blocks() + Blocks<LoopCounters>::bytes_for(kLoopBlocks);
  }

  Shared& shared;
  Blocks<Counters> blocks;
  Blocks<LoopCounters> loops;
};

std::byte* memory_for(server_rec* s) {
  apr_pool_t* for_ever = s->process->pool;
  void* known = nullptr;
  apr_pool_userdata_get(&known, kCountersKey, for_ever);
  if (known) return static_cast<std::byte*>(known);
  void* mapped = mmap(nullptr, Arena::bytes(), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  static_cast<Shared*>(mapped)->started = apr_time_now();
  apr_pool_userdata_set(mapped, kCountersKey, nullptr, for_ever);  // it copies the key
  return static_cast<std::byte*>(mapped);
}

std::optional<Arena> arena;  // nothing where there is no memory for it
Counters unread;
LoopCounters unread_loop;
std::array<std::atomic<Counters*>, kMaxSites> of_process;

Counters& crowd(unsigned site) { return arena ? arena->shared.crowd[site] : unread; }

Counters& take(unsigned site) {
  Counters* block = arena ? arena->blocks.take(site, getpid()) : nullptr;
  return block ? *block : crowd(site);
}

void give_back(unsigned site, Counters& block) {
  if (arena && &block != &crowd(site)) arena->blocks.give_back(block);
}

class LoopMeters final : public Meters {
 public:
  explicit LoopMeters(bool resident) : taken_(count_sites()) {
    if (resident || !arena) return;
    own_loop_ = arena->loops.take(0, getpid());
    loop_ = own_loop_ ? own_loop_ : &arena->shared.loop_crowd;
  }
  ~LoopMeters() override {
    for (unsigned site = 0; site < taken_.size(); site++)
      if (taken_[site]) give_back(site, *taken_[site]);
    if (own_loop_) arena->loops.give_back(*own_loop_);
  }
  Counters& counters(unsigned site) noexcept override {
    if (site >= taken_.size()) return uncounted_;
    if (!taken_[site]) taken_[site] = &take(site);
    return *taken_[site];
  }
  LoopCounters* loop_counters() noexcept override { return loop_; }

 private:
  std::vector<Counters*> taken_;
  LoopCounters *loop_ = nullptr, *own_loop_ = nullptr;
  Counters uncounted_;
};

// The owners, those of which it is true.
template <class Is>
std::vector<pid_t> owners(Is is) {
  std::vector<pid_t> all;
  auto note = [&](uint32_t, pid_t owner, const auto&) {
    if (owner && std::ranges::find(all, owner) == all.end()) all.push_back(owner);
  };
  arena->blocks.for_each(note);
  arena->loops.for_each(note);
  std::erase_if(all, [&](pid_t each) { return !is(each); });
  return all;
}

}  // namespace

void make_counters(server_rec* s) {
  std::byte* memory = memory_for(s);
  if (memory) arena.emplace(memory);
  else
    ap_log_error(APLOG_MARK, APLOG_ERR, errno, s,
                 "WS106: no memory of %" APR_SIZE_T_FMT " bytes for counters: nothing is counted",
                 apr_size_t(Arena::bytes()));
}

void enter_counters() {
  if (!arena) return;
  for (pid_t gone : owners(has_ended)) leave_counters(gone);
}

void leave_counters(pid_t child) {
  if (!arena) return;
  arena->blocks.leave(child);
  arena->loops.leave(child);
}

std::unique_ptr<Meters> meters_for_loop(bool resident) {
  return std::make_unique<LoopMeters>(resident);
}

Counters& process_counters(unsigned site) {
  if (site >= kMaxSites) return unread;
  std::atomic<Counters*>& known = of_process[site];
  if (Counters* counters = known) return *counters;
  Counters *mine = &take(site), *first = nullptr;
  if (known.compare_exchange_strong(first, mine)) return *mine;
  give_back(site, *mine);  // another thread was faster
  return *first;
}

Counter& log_lines_lost() {
  static Counter of_nobody;
  return arena ? arena->shared.log_lines_lost : of_nobody;
}

Snapshot::Snapshot()
    : time(apr_time_now()),
      started(arena ? arena->shared.started : time),
      log_lines_lost(mws::log_lines_lost().value()) {
  for (const ChildView& each : children_now()) children.push_back({each});
  for (const SiteName& each : site_names()) locations.push_back(std::make_unique<Location>(each));
  if (!arena) return;
  for (unsigned site = 0; site < locations.size(); site++)
    add_counters(locations[site]->counters, arena->shared.crowd[site], false);
  arena->blocks.for_each([&](uint32_t site, pid_t owner, const Counters& block) {
    if (site >= locations.size()) return;  // of a restart since
    Counters& sum = locations[site]->counters;
    add_counters(sum, block, owner != 0);
    auto child = std::ranges::find(children, owner, [](const Child& c) { return c.is.pid; });
    if (!owner || child == children.end()) return;
    for (const Counter& open : block.open) child->open += open.value();
    child->buffered_bytes += block.buffered_bytes.value();
  });
  add_counters(loops, arena->shared.loop_crowd, false);
  arena->loops.for_each(
      [&](uint32_t, pid_t, const LoopCounters& block) { add_counters(loops, block, false); });
  std::erase_if(locations, [](const std::unique_ptr<Location>& each) {
    auto nothing = [](const Counter& counter) { return !counter.value(); };
    return each->name.inherited && std::ranges::all_of(all_counters(each->counters), nothing);
  });
  for (auto& each : locations) add_counters(total, each->counters, true);
}

}  // namespace mws
