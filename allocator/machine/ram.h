// Physical memory: a memfd mapped at one of a few fixed host addresses. Behaviour never depends on which.
//
// Power-on contents are garbage, as on real hardware: a frame that nobody has touched in this run reads as
// power_on_byte, so a forgotten clear_page shows at once and not only on recycled frames. The garbage is written at
// first touch:
//
//   frame:   [ bytes ........ ]   generation_[pfn] == generation  ->  contents are this run's
//                                 otherwise                       ->  fill with power_on_byte, then they are
//
//   host:    | generation_ (private) | frames (memfd) ... |   side by side: one reservation, given back at once
//
// That makes reset O(1) (a new generation) whatever the machine's size, and costs one memset per frame really touched.
// Host memory is given back when more than resident_max bytes were touched since the last trim.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "allocator/machine/types.h"

namespace memtorture::machine {

class Ram {
 public:
  Ram();  // reserves address space only; aborts with a message if the host refuses (harness fault)
  ~Ram();
  Ram(const Ram&) = delete;
  Ram& operator=(const Ram&) = delete;

  void power_on(unsigned page_shift, Pfn frames);  // a new run: all contents are garbage again

  // The frame's bytes as the memory bus sees them, also for high memory. Valid until power_on.
  std::span<std::byte> frame(Pfn pfn);
  void clear_frame(Pfn pfn);  // clear_page: every byte zero
  void fill(Pfn first, std::uint32_t frames, std::byte value);
  // Offset in bytes from the start of `first` of the first byte that differs from value, or -1.
  std::int64_t find_not(Pfn first, std::uint32_t frames, std::byte value);

  // The linear map of domain.md 8: address of a frame for the simulated kernel, and back (no_pfn: outside).
  std::uint64_t address_of(Pfn pfn) const { return linear_base + (std::uint64_t{pfn} << page_shift_); }
  Pfn pfn_of(std::uint64_t address) const {
    const std::uint64_t offset = address - linear_base;  // of an address below: more than RAM can have
    return (offset >> page_shift_) >= frames_ ? no_pfn : static_cast<Pfn>(offset >> page_shift_);
  }

  // The byte at an address of a frame that this run has touched already (frame, fill, clear_frame); the frames behind
  // it follow on the host as well. For layers that keep structures of their own in simulated memory.
  std::byte* at(std::uint64_t address) { return bytes_ + (address - linear_base); }

  static constexpr std::byte power_on_byte{0xdb};
  // Simulated kernel addresses, equal in every run (never the host's).
  static constexpr std::uint64_t linear_base = 0xffff'8800'0000'0000;
  static_assert((-linear_base >> 13) > ~Pfn{0}, "pfn_of: also with pages of 8 KiB");

 private:
  std::byte* bytes_;           // ram_bytes_max of address space
  std::uint32_t* generation_;  // one per frame, lazily backed
  std::uint32_t generation_now_ = 0;
  unsigned page_shift_ = 12;
  Pfn frames_ = 0;
  std::atomic<std::uint64_t> touched_bytes_ =
      0;  // host memory in use; on the thread engine CPUs touch at the same time
  int fd_ = -1;

  std::span<std::byte> bytes_of(Pfn pfn);
  bool claim(Pfn pfn);
  void trim();
};

}  // namespace memtorture::machine
