// Live objects: who owns which bytes of the frames that the object layer holds.
//
// Objects lie on 8-byte granules. For each frame that ever held one in this run there is a map of the granules in use
// and of the object that starts at each; frames get their map at first use and are validated by the run's number, so
// begin() costs nothing. Every question is answered by the frames that an object covers.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "allocator/subject/mempools.h"
#include "model/oracle/geometry.h"
#include "model/oracle/lazy_array.h"

namespace memtorture::oracle {

struct Piece {                // a live object
  std::uint64_t address = 0;  // simulated linear address
  std::uint64_t bytes = 0;    // asked for
  std::uint64_t usable = 0;   // what nobody else may have
  std::uint32_t serial = 0;   // its birth; 0: not in use
  std::uint32_t block = 0;    // serial of the block of pages that it lies in
  std::uint32_t buffer = 0;   // bytes of its place, of which `before` are in front of it
  std::uint32_t before = 0;
  std::uint64_t open = 0;      // bytes that a watched access may touch
  std::uint64_t own = 0;       // once given up: State::own_allocations at that time
  std::uint64_t link = 0;      // address of the object that its first word refers to; 0: none
  std::uint8_t checks = 0;     // SlabDebug bits in force
  bool smeared = false;        // a word beside it was overwritten
  bool maybe_smeared = false;  // ... perhaps by what was there
  std::uint32_t cache = 0;     // index of the cache + 1; 0: kmalloc, or a block of pages
  std::uint32_t pool = 0;      // index + 1 of the pool that it is an element of; 0: none
  bool is_block = false;       // an element of a page pool: the whole of its block
  bool forgotten = false;
  bool tainted = false;  // somebody else wrote to it: its contents are no longer its owner's word
  bool broken = false;   // its owner wrote to it and need not put the constructed state back
};

struct CacheRecord {
  std::uint64_t handle = 0;
  std::uint64_t size = 0, align = 0;
  std::uint32_t flags = 0;
  std::uint32_t live = 0;   // objects
  std::uint32_t users = 0;  // operations on it or on its objects that are in flight
  std::uint32_t serial = 0;
  std::uint16_t name = 0;   // the slot that it was created for
  std::uint8_t ctor = 0;    // what the constructor writes; 0: none
  std::uint8_t checks = 0;  // SlabDebug bits in force
  bool alive = false;
  bool unreliable = false;  // an object was given up in a state that is not the constructed one
  bool pooled = false;      // pools were made of it: the layer may hold objects of its own in it
};

struct PoolRecord {
  std::uint64_t handle = 0;
  subject::PoolKind kind{};
  std::uint8_t order = 0;     // of a page pool
  std::uint64_t bytes = 0;    // of an element
  std::uint32_t cache = 0;    // of a slab pool: its index + 1
  std::uint32_t min_nr = 0;   // elements to set aside
  std::uint32_t low = 0;      // elements that are set aside: at least ...
  std::uint32_t high = 0;     // ... and at most
  std::uint32_t out = 0;      // elements that callers have
  std::uint32_t users = 0;    // operations that are in flight on it
  std::uint32_t smeared = 0;  // elements that came back with something beside them overwritten
  std::uint64_t changes = 0;  // operations on it so far
  std::uint64_t own = 0;      // State::own_allocations after the last of them
  bool alive = false;
  bool unsure = false;  // two set min_nr at a time
};

class ObjectLedger {
 public:
  void begin(unsigned page_shift, Pfn frames);

  static constexpr std::uint32_t nobody = ~std::uint32_t{0};
  // The piece that has any byte of [address, address + bytes), or nobody. The range must lie in RAM.
  std::uint32_t owner(std::uint64_t address, std::uint64_t bytes);
  std::uint32_t at(std::uint64_t address);  // the live piece that starts there, or nobody
  std::uint32_t add(const Piece& piece);    // its range must be nobody's
  void remove(std::uint32_t index);
  Piece& piece(std::uint32_t index) { return pieces_[index]; }
  const std::vector<Piece>& pieces() const { return pieces_; }

 private:
  static constexpr unsigned granule_shift = 3;
  static constexpr unsigned granules_max = 8192 >> granule_shift;
  struct FrameMap {
    std::array<std::uint64_t, granules_max / 64> used;
    std::array<std::uint32_t, granules_max> starts;  // valid where the piece says so itself
  };
  FrameMap& map_of(Pfn frame);
  template <class F>
  void for_each_word(std::uint64_t address, std::uint64_t bytes, F&& f);

  unsigned page_shift_ = 12;
  std::uint32_t run_ = 0;
  std::uint32_t maps_used_ = 0;
  LazyArray<std::uint64_t> map_index_;  // of a frame: run << 32 | index of its map
  std::vector<FrameMap> maps_;
  std::vector<Piece> pieces_;
  std::vector<std::uint32_t> unused_;
};

}  // namespace memtorture::oracle
