// Clock, and percentiles of latency.
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

// Of numbers, which are sorted for it; 0 of none.
inline double percentile(std::vector<double>& of, double part) {
  std::sort(of.begin(), of.end());
  return of.empty() ? 0 : of[size_t(part * double(of.size() - 1))];
}

class Latency {
 public:
  Latency() { of_each_s_.reserve(1 << 22); }

  void add_s(double seconds) { of_each_s_.push_back(seconds); }
  size_t count() const { return of_each_s_.size(); }

  // The line of a run in which the server spent CPU_S.
  void print(double cpu_s, double took_s, const std::string& cipher) {
    printf("cpu_us=%.4f replies_s=%.0f p50_us=%.1f p99_us=%.1f cipher=%s\n",
           1e6 * cpu_s / double(count()), double(count()) / took_s,
           1e6 * percentile(of_each_s_, .5), 1e6 * percentile(of_each_s_, .99), cipher.c_str());
  }

 private:
  std::vector<double> of_each_s_;
};

}  // namespace bench
