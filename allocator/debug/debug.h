// Façade of allocator/debug: everything that the checks of objects remember on the host, for one machine.
#pragma once

#include "allocator/debug/poison.h"
#include "allocator/debug/quarantine.h"
#include "allocator/debug/records.h"
#include "allocator/debug/shadow.h"

namespace memtorture::debug {

struct Books {
  Records records;
  Shadow shadow;
  Quarantine quarantine{records};

  void reset(std::uint64_t quarantine_bytes) {
    records.reset();
    shadow.reset();
    quarantine.reset(quarantine_bytes);
  }
};

}  // namespace memtorture::debug
