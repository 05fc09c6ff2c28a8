#include "allocator/debug/shadow.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "allocator/machine/shape.h"

namespace memtorture::debug {
namespace {

constexpr std::uint64_t written_max = std::uint64_t{64} << 20;
constexpr std::uint64_t round_up(std::uint64_t bytes) { return (bytes + shadow_granule - 1) / shadow_granule; }

}  // namespace

Shadow::Shadow()
    : memory_(machine::ram_bytes_max / shadow_granule), bytes_(reinterpret_cast<std::uint8_t*>(memory_.at())) {}

void Shadow::reset() {
  if (written_ > written_max) {
    memory_.forget();
    written_ = 0;
  }
}

void Shadow::fill(std::uint64_t offset, std::uint64_t bytes, ShadowCode code) {
  std::memset(bytes_ + offset / shadow_granule, code, round_up(bytes));
  // A slab's worth is the only large piece; small ones rewrite it.
  if (code == shadow_guard) std::atomic_ref(written_).fetch_add(round_up(bytes), std::memory_order_relaxed);
}

void Shadow::open(std::uint64_t offset, std::uint64_t bytes, std::uint64_t room) {
  std::uint8_t* const first = bytes_ + offset / shadow_granule;
  const std::uint64_t whole = bytes / shadow_granule, rest = bytes % shadow_granule;
  std::memset(first, shadow_open, whole);
  std::uint64_t done = whole;
  if (rest != 0) first[done++] = static_cast<std::uint8_t>(rest);
  if (done < round_up(room)) std::memset(first + done, shadow_guard, round_up(room) - done);
}

std::optional<Shadow::Bad> Shadow::first_bad(std::uint64_t offset, std::uint64_t bytes) const {
  const std::uint64_t end = offset + bytes;
  while (offset != end) {
    const std::uint64_t index = offset / shadow_granule;
    if (end - offset >= 8 * shadow_granule) {  // eight granules at a time
      std::uint64_t codes;
      std::memcpy(&codes, bytes_ + index, sizeof(codes));
      if (codes == 0) {
        offset = (index + 8) * shadow_granule;
        continue;
      }
    }
    const std::uint8_t code = bytes_[index];
    const std::uint64_t next = std::min(end, (index + 1) * shadow_granule);
    if (code >= shadow_granule) return Bad{offset, code};
    const std::uint64_t open_end = index * shadow_granule + code;
    if (code != shadow_open && next > open_end) return Bad{std::max(offset, open_end), code};
    offset = next;
  }
  return std::nullopt;
}

}  // namespace memtorture::debug
