// The bank of metadata memory: where a simulated machine keeps what its allocators need to know.
//
//   | kept: one area at a fixed place         | pieces: handed out from the bottom, zeroed    |
//   | (mem_map; last run's bytes still in it) | (zones, per-CPU lists)      next ->           |
//
// It stands for boot memory (domain.md 18): pieces are disjoint, aligned, zero, and never given back (P-BOOT-1); after
// boot nothing asks the host for memory. Address space is reserved once and backed by the host on first touch, so the
// area may be sized for the largest machine. reset() forgets the pieces of the last run and keeps all memory.
//
// Not here: when bytes of `kept` are valid. Their owner must know which run wrote them.
#pragma once

#include <cstddef>
#include <span>

namespace memtorture::boot {

class Bank {
 public:
  Bank(std::size_t kept_bytes, std::size_t piece_bytes_max);  // aborts with a message when the host refuses
  ~Bank();
  Bank(const Bank&) = delete;
  Bank& operator=(const Bank&) = delete;

  void reset() { used_ = 0; }

  std::span<std::byte> kept() const { return {bytes_, kept_bytes_}; }
  void forget_kept();  // gives the host its memory back; all kept bytes are zero afterwards

  // `align` is a power of two. Aborts when the bank is full: its size is a constant of the machine's maxima.
  std::byte* take(std::size_t bytes, std::size_t align);

  template <class T>
  T* array(std::size_t n) {  // storage only: the caller constructs
    return reinterpret_cast<T*>(take(n * sizeof(T), alignof(T)));
  }

 private:
  std::byte* bytes_;
  std::size_t kept_bytes_, piece_bytes_max_;
  std::size_t used_ = 0;
};

}  // namespace memtorture::boot
