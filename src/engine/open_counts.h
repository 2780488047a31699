// How many WebSockets are open, by the client's network and by location, in memory that processes
// share. What a process has counted is gone with it, however it ends. Any thread, but not in a
// signal handler that may have interrupted a call; leave() there too.
#pragma once
#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "src/engine/network.h"

namespace mws {

class OpenCounts {
 public:
  struct Sizes {
    uint32_t rows;   // one for each network, location and process
    uint32_t seats;  // processes at a time, less than half a million
    uint32_t sites;  // locations, at most 2048
  };
  static size_t bytes_for(const Sizes& sizes);
  // In memory that holds zeroes, once; little of it is touched before it is needed.
  static void lay_out(void* memory, const Sizes& sizes);

  explicit OpenCounts(void* memory);

  // This process, of that id; it has to before it counts, and after its fork. False: too many have.
  bool enter(pid_t process);
  // The process has ended, or is about to. Takes no lock.
  void leave(pid_t process);

  struct Newcomer {
    Network network;                               // none: counts for the location alone
    uint32_t site = 0;                             // the location's number
    uint32_t max_of_network = 0, max_of_site = 0;  // 0: no limit
  };
  enum class Answer {
    counted,
    no_room,  // it may come, uncounted: the table is full, or this process is not in it
    network,  // its limit is reached
    site,
  };
  struct Opened {
    Answer answer;
    uint32_t row = 0;  // for close(); 0: not counted
  };
  // A newcomer is counted at once, so that no two get the last place.
  Opened open(const Newcomer& newcomer);
  void close(uint32_t row);

  uint64_t of_network(const Network& network);
  uint64_t of_site(uint32_t site);

 private:
  struct Header;
  struct Row;
  struct SiteCount;
  class Lock;

  bool lives(uint64_t seat, uint32_t life) const { return seat && uint32_t(seat) == life; }
  bool lives(const Row& row) const;
  Row& row_at(uint32_t index) const;
  std::atomic<uint32_t>& bucket_of(const Network& network) const;
  SiteCount& site_count(uint32_t site, uint32_t seat) const;
  void add_to_site(uint32_t site, uint32_t count);
  uint64_t sum_of_site(uint32_t site) const;
  uint64_t sum_of_network(const Network& network, uint32_t site, uint32_t& own);
  uint32_t new_row(const Network& network, uint32_t site);
  uint32_t free_row();
  void drop(uint32_t index);
  void put_back(uint32_t index);

  Header& header_;
  std::atomic<uint64_t>* seats_;
  std::atomic<uint32_t>* buckets_;
  Row* rows_;
  SiteCount* site_counts_;
  uint32_t seat_ = 0, life_ = 0;  // of this process; no life is 0
};

}  // namespace mws
