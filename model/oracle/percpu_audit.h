// What the audit of per-CPU memory finds, for the comparison of blocks and objects that follows it.
#pragma once

#include "model/oracle/state.h"

namespace memtorture::oracle {

struct Oracle::State::Chunks {
  std::uint64_t blocks = 0;       // of pages that chunks are in
  std::uint64_t kmalloced = 0;    // descriptors and maps
  std::uint32_t empty_pages = 0;  // in all chunks but the reserved one
  std::uint32_t whole = 0;        // later chunks without areas
  std::vector<bool> seen;         // by area: some chunk has it
};

}  // namespace memtorture::oracle
