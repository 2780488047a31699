// Clock and percentiles.
#pragma once
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

namespace bench {

inline double now_s() {
  using namespace std::chrono;
  return duration<double>(steady_clock::now().time_since_epoch()).count();
}

class Latency {
 public:
  Latency() { of_each_s_.reserve(1 << 22); }

  void add_s(double seconds) { of_each_s_.push_back(seconds); }
  size_t count() const { return of_each_s_.size(); }

  // The line of a run in which the server spent CPU_S.
  void print(double cpu_s, double took_s, const std::string& cipher) {
    std::sort(of_each_s_.begin(), of_each_s_.end());
    printf("cpu_us=%.4f replies_s=%.0f p50_us=%.1f p99_us=%.1f cipher=%s\n",
           1e6 * cpu_s / double(count()), double(count()) / took_s, percentile_us(.5),
           percentile_us(.99), cipher.c_str());
  }

 private:
  double percentile_us(double part) const {
    if (of_each_s_.empty()) return 0;
    return 1e6 * of_each_s_[size_t(part * double(count() - 1))];
  }

  std::vector<double> of_each_s_;  // sorted when all is over
};

}  // namespace bench
