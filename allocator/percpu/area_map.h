// The map of a chunk: which bytes of a unit are areas (domain.md 16.5, K26).
//
//   areas:  | -48 |  16 | -8 | 4024 |        a negative length is in use, a positive one is free
//   unit:   [used ][free][u ][ free ]        the same in every unit of the chunk
//
// No two free areas are neighbours and the lengths add up to the unit: release() merges on both sides, take() cuts from
// one free area. Pieces below piece_min are no areas of their own, for nobody could use them: what alignment leaves in
// front goes to the neighbour before, what is left behind stays with the new area. So an area can be up to
// 2 * (piece_min - 1) bytes longer than was asked for, and comes back as long as it is.
//
// A view: the chunk owns the words and says how many there may be. take() adds two at most.
#pragma once

#include <cstdint>
#include <optional>

namespace memtorture::percpu {

inline constexpr std::int32_t piece_min = 4;  // sizeof(int)

// What atomic requests may have: bit p of `populated` says that page p of every unit is backed.
struct Places {
  std::uint32_t populated = ~0u;
  unsigned page_shift = 12;
  bool allow(std::uint32_t offset, std::uint32_t bytes) const {
    const std::uint32_t pages = pages_of(offset, bytes);
    return (pages & ~populated) == 0;
  }
  // Bits of the pages that the bytes touch. Units have at most 32 pages.
  std::uint32_t pages_of(std::uint32_t offset, std::uint32_t bytes) const {
    const std::uint32_t first = offset >> page_shift, last = (offset + bytes - 1) >> page_shift;
    const std::uint64_t up_to_last = (std::uint64_t{2} << last) - 1;
    return static_cast<std::uint32_t>(up_to_last & ~((std::uint64_t{1} << first) - 1));
  }
};

class AreaMap {
 public:
  AreaMap(std::int32_t* areas, std::uint32_t& used) : areas_(areas), used_(used) {}

  struct Taken {
    std::uint32_t offset, bytes;  // bytes: that are free no longer
  };
  // First fit. Nothing: `largest` is the longest free area then.
  std::optional<Taken> take(std::uint32_t bytes, std::uint32_t align, const Places& places, std::uint32_t& largest);

  struct Released {
    std::uint32_t bytes, merged;  // that are free now; of the free area that they are in
  };
  // Nothing: no area in use starts there.
  std::optional<Released> release(std::uint32_t offset);

  // f(offset, bytes, used) for each area.
  template <class F>
  void for_each(F&& f) const {
    std::uint32_t offset = 0;
    for (std::uint32_t i = 0; i != used_; ++i) {
      const std::uint32_t bytes = length(i);
      f(offset, bytes, areas_[i] < 0);
      offset += bytes;
    }
  }

 private:
  std::uint32_t length(std::uint32_t i) const {
    return static_cast<std::uint32_t>(areas_[i] < 0 ? -areas_[i] : areas_[i]);
  }
  void insert(std::uint32_t at, std::int32_t area);
  void erase(std::uint32_t at);

  std::int32_t* areas_;
  std::uint32_t& used_;
};

}  // namespace memtorture::percpu
