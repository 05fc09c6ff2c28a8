// Live objects: who owns which bytes of the frames that the object layer holds.
//
// Objects lie on 8-byte granules. For each frame that ever held one in this run there is a map of the granules in use
// and of the object that starts at each; frames get their map at first use and are validated by the run's number, so
// begin() costs nothing. Every question is answered by the frames that an object covers.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

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
  std::uint32_t cache = 0;     // index of the cache + 1; 0: kmalloc
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
