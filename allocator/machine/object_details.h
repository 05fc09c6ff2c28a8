// What a report about an object says besides its kind: whose object it is, who had it, and what was found there.
//
// Filled in by the checks of the object layer (domain.md 10.9, 20.1). Where no object is near (a free page, an address
// outside RAM) the cache has no name and the size is 0; check and access are there all the same.
#pragma once

#include <cstdint>
#include <string_view>

#include "allocator/machine/types.h"

namespace memtorture::machine {

enum class Access : std::uint8_t { read, write };

// One end of an object's life: who allocated it, or gave it back.
struct Life {
  ContextId who = no_context;
  ContextKind kind = ContextKind::task;
  std::uint8_t cpu = 0;
  std::uint32_t op = 0;
  std::uint64_t jiffies = 0;
  bool known = false;  // false: that has not happened yet, and the rest means nothing
  friend bool operator==(const Life&, const Life&) = default;
};

struct ObjectDetails {
  std::string_view cache;   // name; valid during the report
  std::uint64_t start = 0;  // simulated address of the object
  std::uint64_t size = 0;   // bytes as requested
  Life allocated, freed;
  std::uint8_t check = 0;  // the SlabDebug bit of the check that saw it
  // Accesses only.
  Access access = Access::read;
  std::uint64_t bytes = 0;
  // Bytes from `start` to the first byte that is wrong (overwritten memory) or forbidden (accesses); may be negative.
  std::int64_t offset = 0;
  std::uint8_t found = 0;  // overwritten memory: that byte
};

}  // namespace memtorture::machine
