// What pools have set aside, for the comparison of structures.
#pragma once

#include <algorithm>
#include <vector>

#include "model/oracle/state.h"

namespace memtorture::oracle {

struct Oracle::State::Stock {
  struct Element {
    std::uint64_t address;
    std::uint32_t pool;  // index + 1
    bool seen = false;   // its backend knows it
  };
  std::vector<Element> elements;  // by address
  std::uint64_t kmalloced = 0;    // objects of kmalloc: elements, and the pools themselves
  std::uint64_t blocks = 0;       // elements that are blocks of pages

  Element* find(std::uint64_t address) {
    const auto at = std::ranges::lower_bound(elements, address, {}, &Element::address);
    return at != elements.end() && at->address == address ? &*at : nullptr;
  }
};

}  // namespace memtorture::oracle
