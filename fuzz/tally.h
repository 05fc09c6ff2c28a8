// The figures of one fuzz process, for whoever drives several of them: DIR/stats-TARGET-PID.json.
//
// A fuzz process may end in ways that run no destructor (a sanitizer's last words, an interrupt). So the file is
// rewritten every `rewrite_every` cases and before every abort of our own, each time as a whole under a temporary name
// and renamed: a reader never sees half of it, and at worst the last few thousand cases are missing from a sum of
// millions.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "model/run/outcome.h"

namespace memtorture::fuzz {

class Tally {
 public:
  Tally(std::string target, std::filesystem::path directory);  // empty directory: counts, writes nothing
  ~Tally();
  Tally(const Tally&) = delete;
  Tally& operator=(const Tally&) = delete;

  void count(const run::Statistics& statistics);  // one more case
  void found(const std::string& reproducer) { findings_.push_back(reproducer); }
  void write();  // best effort: figures are never worth a failure
  std::string json() const;

 private:
  static constexpr std::uint64_t rewrite_every = 1 << 14;

  std::string target_;
  std::filesystem::path directory_;
  std::uint64_t cases_ = 0;
  run::Statistics sum_;
  std::vector<std::string> findings_;
};

}  // namespace memtorture::fuzz
