#include "cli/board.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>

#include <fmt/format.h>

#include "cli/exit.h"

namespace memtorture::cli {

namespace {

constexpr auto relaxed = std::memory_order_relaxed;

void add(std::atomic<std::uint64_t>& figure, std::uint64_t more) { figure.store(figure.load(relaxed) + more, relaxed); }

std::uint64_t hash_of(std::string_view text) {  // FNV-1a; never 0
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<std::uint8_t>(c)) * 0x100000001b3;
  return hash | 1;
}

}  // namespace

void Column::count(const run::Outcome& outcome) {
  add(runs, 1);
  add(pulse, 1);
  add(operations, outcome.statistics.operations);
  add(refused, outcome.statistics.refused);
  add(faults, outcome.statistics.faults);
  add(interrupts, outcome.statistics.interrupts);
  add(verdicts[static_cast<unsigned>(outcome.verdict)], 1);
}

// A full table claims nothing more: after 256 different bugs one more is not what anybody waits for.
bool Board::claim(std::string_view signature) {
  const std::uint64_t hash = hash_of(signature);
  for (auto& entry : signatures) {
    std::uint64_t there = 0;
    if (entry.compare_exchange_strong(there, hash)) return true;
    if (there == hash) return false;
  }
  return false;
}

std::uint64_t Board::runs() const {
  std::uint64_t sum = 0;
  for (const Column& column : columns) sum += column.runs.load(relaxed);
  return sum;
}

void* map_shared(std::size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    throw Trouble{Exit::harness, fmt::format("cannot share {} bytes with workers: {}", bytes, std::strerror(errno))};
  return memory;
}

void unmap_shared(void* memory, std::size_t bytes) { munmap(memory, bytes); }

}  // namespace memtorture::cli
