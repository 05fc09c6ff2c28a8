// The shadow of RAM: one byte says which of eight bytes a program may touch (domain.md 20.1).
//
//   RAM      |  object of 13 bytes  . . . |  guard          |  freed object    |
//   shadow   |    00    |      05         |   fc      fc    |   fb       fb    |
//
//   00 all eight bytes    01..07 the first so many    fc beside an object    fb an object that was freed
//
// What keeps it cheap: only the shadow of slabs whose cache is watched is ever read, and a slab's shadow is written as
// a whole when the slab is made. So nothing needs to be forgotten between runs, and a frame that no slab uses costs
// nothing. A byte of shadow belongs to one buffer (objects of watched caches are aligned to eight bytes), so whoever
// owns the buffer writes it without a lock.
//
// Not known here: what a frame is used for. Pages that are no slab's are the caller's business.
#pragma once

#include <cstdint>
#include <optional>

#include "allocator/debug/reservation.h"

namespace memtorture::debug {

inline constexpr std::uint64_t shadow_granule = 8;
enum ShadowCode : std::uint8_t { shadow_open = 0x00, shadow_freed = 0xfb, shadow_guard = 0xfc };

class Shadow {
 public:
  Shadow();
  void reset();  // a new run

  // Offsets are bytes from the start of RAM. Of whole granules: offset is a multiple of eight, bytes are rounded up.
  void fill(std::uint64_t offset, std::uint64_t bytes, ShadowCode code);
  // Exactly `bytes` from offset on may be touched, and none of the rest of `room` bytes.
  void open(std::uint64_t offset, std::uint64_t bytes, std::uint64_t room);

  struct Bad {
    std::uint64_t offset;
    std::uint8_t code;
  };
  std::optional<Bad> first_bad(std::uint64_t offset, std::uint64_t bytes) const;
  std::uint8_t code_at(std::uint64_t offset) const { return bytes_[offset / shadow_granule]; }

 private:
  Reservation memory_;
  std::uint8_t* bytes_;
  std::uint64_t written_ = 0;  // about; the host gets its memory back after a while
};

}  // namespace memtorture::debug
