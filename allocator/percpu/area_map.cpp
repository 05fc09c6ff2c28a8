#include "allocator/percpu/area_map.h"

#include <algorithm>

namespace memtorture::percpu {

std::optional<AreaMap::Taken> AreaMap::take(std::uint32_t bytes, std::uint32_t align, const Places& places,
                                            std::uint32_t& largest) {
  largest = 0;
  std::uint32_t offset = 0;
  for (std::uint32_t i = 0; i != used_; offset += length(i++)) {
    if (areas_[i] < 0) continue;
    const std::uint32_t start = (offset + align - 1) & ~(align - 1);
    const std::uint32_t head = start - offset, whole = length(i);
    largest = std::max(largest, whole);
    if (whole < head || whole - head < bytes || !places.allow(start, bytes)) continue;

    auto rest = static_cast<std::int32_t>(whole - head);
    Taken taken{start, bytes};
    if (head != 0 && static_cast<std::int32_t>(head) < piece_min) {  // in front of it is an area in use
      areas_[i - 1] -= static_cast<std::int32_t>(head);
      taken.bytes += head;
      areas_[i] = rest;
    } else if (head != 0) {
      areas_[i] = static_cast<std::int32_t>(head);
      insert(++i, rest);
    }
    const std::int32_t tail = rest - static_cast<std::int32_t>(bytes);
    if (tail >= piece_min) {
      insert(i + 1, tail);
      rest -= tail;
    } else {
      taken.bytes += static_cast<std::uint32_t>(tail);
    }
    areas_[i] = -rest;
    return taken;
  }
  return std::nullopt;
}

std::optional<AreaMap::Released> AreaMap::release(std::uint32_t offset) {
  std::uint32_t i = 0, at = 0;
  while (i != used_ && at < offset) at += length(i++);
  if (i == used_ || at != offset || areas_[i] > 0) return std::nullopt;
  const Released released{length(i), 0};
  areas_[i] = -areas_[i];
  if (i + 1 != used_ && areas_[i + 1] > 0) {
    areas_[i] += areas_[i + 1];
    erase(i + 1);
  }
  if (i != 0 && areas_[i - 1] > 0) {
    areas_[i - 1] += areas_[i];
    erase(i--);
  }
  return Released{released.bytes, length(i)};
}

void AreaMap::insert(std::uint32_t at, std::int32_t area) {
  std::copy_backward(areas_ + at, areas_ + used_, areas_ + used_ + 1);
  areas_[at] = area;
  ++used_;
}

void AreaMap::erase(std::uint32_t at) {
  std::copy(areas_ + at + 1, areas_ + used_, areas_ + at);
  --used_;
}

}  // namespace memtorture::percpu
