// What a server's processes take: CPU time and memory of a process and all of its descendants.
#pragma once

#include <dirent.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace bench {

class Processes {
 public:
  explicit Processes(int root) : root_(root) {}

  // User and system time so far.
  double cpu_s() const {
    double ticks = 0;
    for (int pid : all()) {
      std::string stat = read("/proc/" + std::to_string(pid) + "/stat");
      size_t name_end = stat.rfind(')');
      unsigned long user = 0, system = 0;
      if (name_end != stat.npos)
        sscanf(stat.c_str() + name_end + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
               &user, &system);
      ticks += double(user + system);
    }
    return ticks / double(sysconf(_SC_CLK_TCK));
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

 private:
  static std::string read(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
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
