// The patterns in objects: what a free one and a fresh one is filled with (domain.md 10.8), and how to find who did not
// respect it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>

namespace memtorture::debug {

inline constexpr std::byte poison_free{0x6b}, poison_fresh{0x5a}, poison_end{0xa5};
inline constexpr std::uint64_t redzone_inactive = 0x09F911029D74E35B, redzone_active = 0xD84156C5635688C0;

inline void fill_poison(std::byte* at, std::uint64_t bytes, std::byte pattern) {
  std::memset(at, std::to_integer<int>(pattern), bytes - 1);
  at[bytes - 1] = poison_end;
}

// Of the first byte that differs from a freed object's.
inline std::optional<std::uint64_t> first_not_poison(const std::byte* at, std::uint64_t bytes) {
  const std::uint64_t body = bytes - 1;
  // A run of one value: its first byte is it, and the run equals itself shifted by one.
  const bool whole = body == 0 || (at[0] == poison_free && std::memcmp(at, at + 1, body - 1) == 0);
  if (!whole) {
    std::uint64_t i = 0;
    while (at[i] == poison_free) ++i;
    return i;
  }
  if (at[body] != poison_end) return body;
  return std::nullopt;
}

}  // namespace memtorture::debug
