// What a server's processes take: CPU time, memory and sockets of a process and all of its
// descendants.
#pragma once

#include <dirent.h>
#include <limits.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace bench {

class Processes {
 public:
  explicit Processes(int root) : root_(root) {}

  // User and system time so far.
  double cpu_s() const {
    double sum_s = 0;
    for (int pid : all()) {
      clockid_t clock;
      timespec time;
      if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &time))
        continue;  // it has ended
      sum_s += double(time.tv_sec) + 1e-9 * double(time.tv_nsec);
    }
    return sum_s;
  }

  // Proportional set size: shared pages count once.
  double memory_kb() const {
    double sum = 0;
    for (int pid : all()) {
      std::string rollup = read("/proc/" + std::to_string(pid) + "/smaps_rollup");
      size_t line = rollup.find("\nPss:");
      if (line != rollup.npos) sum += atof(rollup.c_str() + line + 5);
    }
    return sum;
  }

  // How many each process has of those that serve connections: that have `least` at least.
  std::vector<size_t> sockets(size_t least) const {
    std::vector<size_t> of_each;
    for (int pid : all()) {
      size_t count = count_sockets("/proc/" + std::to_string(pid) + "/fd");
      if (count >= least) of_each.push_back(count);
    }
    return of_each;
  }

 private:
  static size_t count_sockets(const std::string& path) {
    size_t count = 0;
    std::unique_ptr<DIR, int (*)(DIR*)> folder(opendir(path.c_str()), closedir);
    while (dirent* entry = folder ? readdir(folder.get()) : nullptr) {
      char target[PATH_MAX];
      ssize_t size = readlink((path + "/" + entry->d_name).c_str(), target, sizeof target);
      count += size > 0 && std::string_view(target, size_t(size)).starts_with("socket:");
    }
    return count;
  }

  // Nothing where the process has ended, be it meanwhile.
  static std::string read(const std::string& path) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }

  std::vector<int> all() const {
    std::multimap<int, int> children;
    std::unique_ptr<DIR, int (*)(DIR*)> folder(opendir("/proc"), closedir);
    while (dirent* entry = readdir(folder.get())) {
      int pid = atoi(entry->d_name), parent = 0;
      if (pid <= 0) continue;
      std::string stat = read(std::string("/proc/") + entry->d_name + "/stat");
      size_t name_end = stat.rfind(')');
      if (name_end != stat.npos && sscanf(stat.c_str() + name_end + 1, " %*c %d", &parent) == 1)
        children.emplace(parent, pid);
    }
    std::vector<int> found{root_};
    for (size_t i = 0; i < found.size(); i++)
      for (auto [at, end] = children.equal_range(found[i]); at != end; ++at)
        found.push_back(at->second);
    return found;
  }

  int root_;
};

}  // namespace bench
