// Areas of per-CPU memory, as the specification keeps them.
#pragma once

#include <cstdint>
#include <vector>

#include "allocator/subject/percpu.h"

namespace memtorture::oracle {

struct PercpuPlace {  // of one CPU's copy, as the subject told it
  unsigned cpu;
  std::uint64_t address;
  std::uint64_t dirty;  // offset of the first byte that is not zero; ~0: none
  bool populated = true;
};

// One CPU's copy: its counter, and who came near it how. Sets of kinds of contexts have bit ContextKind.
struct PercpuCopy {
  std::uint64_t counter = 0;
  std::uint8_t touched_by = 0;    // kinds that add to it
  std::uint8_t open_to = 0;       // kinds that could have come between a load and a store
  std::uint8_t guard = 0xff;      // locks that all had who were not on its CPU ...
  std::uint8_t own_guard = 0xff;  // ... and all who were; bit l = the program's spinlock l
  bool remote = false, local = false;
};

struct PercpuRecord {
  std::uint64_t cookie = 0;
  std::uint64_t bytes = 0;
  std::uint32_t serial = 0;   // 0: given up
  std::uint32_t adding = 0;   // additions in flight
  std::uint64_t changes = 0;  // ... and begun so far
  bool reserved = false;
  bool spoilt = false;  // an addition was lost, or may have been: what the counters say is anybody's guess
  std::vector<PercpuCopy> copies;

  unsigned width() const { return bytes >= 8 ? 8 : bytes >= 4 ? 4 : bytes >= 2 ? 2 : 1; }
  std::uint64_t narrow(std::uint64_t value) const {
    return width() == 8 ? value : value & ((std::uint64_t{1} << 8 * width()) - 1);
  }
  bool has(std::uint64_t address) const { return address - cookie < bytes; }
};

// An addition that is about to begin: to whose copy, and how.
struct PercpuAccess {
  unsigned copy;
  bool own;     // a copy that was the program's own when it got the pointer or number
  bool in_one;  // nothing comes in between
};

}  // namespace memtorture::oracle
