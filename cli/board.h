// The board: memory that the searching processes share with the one that watches them.
//
// Every figure has one writer, the worker whose column it is in, and is read at any time by the watcher; relaxed order
// is enough, nothing is published through a figure. What must survive the death of a worker is here: the run that it
// was at and how far it had come.
#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "model/run/outcome.h"

namespace memtorture::cli {

enum class Phase : std::uint8_t { searching, shrinking, aftermath };  // aftermath: of an earlier death

inline constexpr std::size_t verdict_count = std::size(program::verdict_names);
inline constexpr unsigned jobs_max = 256;

struct alignas(64) Column {
  std::atomic<std::uint64_t> run_index, pulse;  // pulse moves whenever a run ended: who stands still hangs
  std::atomic<Phase> phase;
  std::atomic<std::uint64_t> runs, operations, refused, faults, interrupts, repeated;  // repeated: bugs seen before
  std::atomic<std::uint64_t> verdicts[verdict_count];

  void count(const run::Outcome& outcome);  // by its owner only
};

struct Board {
  std::atomic<std::uint64_t> next_run;  // runs are numbered across all jobs, so their cases do not depend on the jobs
  std::atomic<bool> stop_search, stop_shrink;
  static constexpr std::size_t signatures_max = 256;
  std::atomic<std::uint64_t> signatures[signatures_max];  // hashes of those that somebody has taken care of; 0: free
  Column columns[jobs_max];

  bool claim(std::string_view signature);  // true for the first who asks
  std::uint64_t runs() const;
  static_assert(std::atomic<std::uint64_t>::is_always_lock_free, "a worker may die anywhere");
};

void* map_shared(std::size_t bytes);  // zeroed; throws Trouble
void unmap_shared(void* memory, std::size_t bytes);

// A T in memory that children share. All bytes zero must be a good T.
template <class T>
class Shared {
 public:
  Shared() : memory_(static_cast<T*>(map_shared(sizeof(T)))) {}
  ~Shared() { unmap_shared(memory_, sizeof(T)); }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  T& operator*() const { return *memory_; }
  T* operator->() const { return memory_; }

 private:
  static_assert(std::is_trivially_destructible_v<T>);
  T* memory_;
};

}  // namespace memtorture::cli
