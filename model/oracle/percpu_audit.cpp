// White box: the chunks of per-CPU memory against the areas that are live (domain.md 16.5, P-PERCPU-6).
//
// Every area that a map says is in use is one that somebody has, and begins where that begins; it may be a few bytes
// longer, which nobody could have used. All pages that it touches are backed for all CPUs, and a page is backed for all
// or for none. When no work is pending, at most one chunk is without areas (but for the first, which stays).
#include "model/oracle/percpu_audit.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>

namespace memtorture::oracle {

using subject::PercpuAreaInfo;
using subject::PercpuChunkInfo;
using subject::PercpuRole;

namespace {

constexpr std::uint64_t pieces = 6;  // two of what is too little for an area of its own

template <class T>
void collect(void* arg, const T& value) {
  static_cast<std::vector<T>*>(arg)->push_back(value);
}

std::uint32_t slot_by_size(std::uint64_t bytes) {
  return static_cast<std::uint32_t>(std::max(static_cast<int>(std::bit_width(bytes)) - 3, 1));
}

}  // namespace

Ruling Oracle::State::look_at_areas(subject::PercpuView& view, const PercpuChunkInfo& chunk, Chunks& chunks) {
  const auto wrong = [&](std::string what) {
    return broken("percpu.map", chunk.first, fmt::format("chunk {:#x}: {}", chunk.base, what));
  };
  std::vector<PercpuAreaInfo> all;
  view.for_each_percpu_area(chunk.descriptor, &collect<PercpuAreaInfo>, &all);
  const std::uint64_t kept = percpu_layout.static_bytes + percpu_layout.reserved_bytes;
  const std::uint64_t end = chunk.role == PercpuRole::reserved ? kept : percpu_layout.unit_bytes;
  const std::uint64_t begin = chunk.role == PercpuRole::first      ? kept
                              : chunk.role == PercpuRole::reserved ? percpu_layout.static_bytes
                                                                   : 0;
  std::uint64_t at = 0, free = 0, empty = (std::uint64_t{1} << (percpu_layout.unit_bytes >> shape.page_shift)) - 1;
  bool last_free = false;
  if (all.size() != chunk.map_used || chunk.map_used > chunk.map_alloc)
    return wrong(fmt::format("{} areas, counted as {} of {}", all.size(), chunk.map_used, chunk.map_alloc));
  for (const PercpuAreaInfo& area : all) {
    if (area.offset != at || area.bytes == 0) return wrong(fmt::format("a gap at {}", at));
    if (!area.used && last_free) return wrong(fmt::format("two free areas meet at {}", at));
    last_free = !area.used;
    at += area.bytes;
    if (!area.used) {
      free += area.bytes;
      continue;
    }
    for (std::uint64_t page = area.offset >> shape.page_shift; page <= (at - 1) >> shape.page_shift; ++page)
      empty &= ~(std::uint64_t{1} << page);
    if (area.offset == 0 && begin != 0) {
      if (area.bytes < begin || area.bytes > begin + pieces) return wrong("static and reserved areas are not apart");
      continue;
    }
    const std::uint64_t cookie = chunk.base - percpu_layout.first_chunk + percpu_layout.static_cookie + area.offset;
    const std::uint32_t index = area_at(cookie, 1);
    if (index == 0 || areas[index - 1].cookie != cookie || area.bytes < areas[index - 1].bytes ||
        area.bytes > areas[index - 1].bytes + pieces)
      return wrong(fmt::format("{} bytes at {} are in use, and nobody's", area.bytes, area.offset));
    chunks.seen[index - 1] = true;
    for (unsigned cpu = 0; cpu != shape.cpus; ++cpu) {
      const std::uint64_t last = (area.offset + areas[index - 1].bytes - 1) >> shape.page_shift;
      for (std::uint64_t page = area.offset >> shape.page_shift; page <= last; ++page)
        if (!view.populated(chunk.descriptor, cpu, static_cast<unsigned>(page)))
          return broken("percpu.populate", chunk.first,
                        fmt::format("page {} of cpu {} is in use, and not populated", page, cpu));
    }
  }
  if (at != end || free != chunk.free_bytes)
    return wrong(fmt::format("{} bytes of {}, {} of them free, counted as {}", at, end, free, chunk.free_bytes));
  for (std::uint64_t page = 0; page != percpu_layout.unit_bytes >> shape.page_shift; ++page) {
    unsigned backed = 0;
    for (unsigned cpu = 0; cpu != shape.cpus; ++cpu)
      backed += view.populated(chunk.descriptor, cpu, static_cast<unsigned>(page)) ? 1 : 0;
    if (backed != 0 && backed != shape.cpus)
      return broken("percpu.populate", chunk.first, fmt::format("page {} is populated for {} CPUs", page, backed));
    if (backed == 0) empty &= ~(std::uint64_t{1} << page);
  }
  if (chunk.role == PercpuRole::reserved) return Ruling::fine;
  if (chunk.empty_pages != static_cast<std::uint32_t>(std::popcount(empty)))
    return broken(
        "percpu.populate", chunk.first,
        fmt::format("{} populated pages without areas, counted as {}", std::popcount(empty), chunk.empty_pages));
  chunks.empty_pages += chunk.empty_pages;
  const std::uint32_t right = free == percpu_layout.unit_bytes ? slot_by_size(free) + 1 : slot_by_size(free);
  if (free == percpu_layout.unit_bytes) ++chunks.whole;
  if (chunk.slot != right && chunk.slot != 0)  // 0: nothing that could be given
    return broken("percpu.chunk", chunk.first,
                  fmt::format("{} bytes free in slot {}, not {}", free, chunk.slot, right));
  return Ruling::fine;
}

Ruling Oracle::State::look_at_chunks(subject::PercpuView& view, Chunks& chunks) {
  std::vector<PercpuChunkInfo> all;
  view.for_each_percpu_chunk(&collect<PercpuChunkInfo>, &all);
  chunks.seen.assign(areas.size(), false);
  unsigned first = 0, reserved = 0;
  std::uint32_t slot_before = 0;
  for (const PercpuChunkInfo& chunk : all) {
    const auto wrong = [&](std::string what) {
      return broken("percpu.chunk", chunk.first, fmt::format("chunk {:#x}: {}", chunk.base, what));
    };
    chunks.kmalloced += 2;
    first += chunk.role == PercpuRole::first ? 1 : 0;
    reserved += chunk.role == PercpuRole::reserved ? 1 : 0;
    const std::uint64_t base = machine::Ram::linear_base + (std::uint64_t{chunk.first} << shape.page_shift);
    const bool exists = chunk.first < geometry.frames() && !geometry.absent(chunk.first);
    if (!exists || chunk.base != base) return wrong("not in memory");
    const Ledger::Found found = ledger.find(chunk.first);
    if (found.entry.holds() != Holds::live || !ledger.object(found.entry.payload()).layer ||
        found.head != chunk.first || found.order != chunk.order)
      return wrong(fmt::format("in a frame that is {}", whose(chunk.first)));
    if (percpu_layout.unit_bytes * shape.cpus > shape.page_bytes() << chunk.order) return wrong("too small");
    if (objects.owner(chunk.descriptor, 1) != ObjectLedger::nobody ||
        objects.owner(chunk.map, 1) != ObjectLedger::nobody)
      return wrong("its descriptor or map is somebody's object");
    if (chunk.role != PercpuRole::reserved) {
      ++chunks.blocks;
      if (chunk.slot < slot_before) return wrong("out of the order of slots");
      slot_before = chunk.slot;
    }
    if (const Ruling ruling = look_at_areas(view, chunk, chunks); ruling != Ruling::fine) return ruling;
  }
  if (first != 1 || reserved != 1)
    return broken("percpu.chunk", machine::no_pfn, fmt::format("{} first and {} reserved chunks", first, reserved));
  for (std::size_t i = percpu_statics; i != areas.size(); ++i) {
    if (areas[i].serial != 0 && !chunks.seen[i])
      return broken("percpu.map", machine::no_pfn, fmt::format("the area {:#x} is live, and free", areas[i].cookie));
  }
  const subject::PercpuCounts counts = view.percpu_counts();
  if (counts.empty_pages != chunks.empty_pages)
    return broken(
        "percpu.populate", machine::no_pfn,
        fmt::format("{} populated pages without areas, counted as {}", chunks.empty_pages, counts.empty_pages));
  if (chunks.whole > 1 && !counts.work_pending)
    return broken("percpu.chunk", machine::no_pfn, fmt::format("{} chunks without areas, and no work", chunks.whole));
  return Ruling::fine;
}

std::optional<std::uint64_t> Oracle::live_percpu(std::uint64_t cookie) const {
  for (const PercpuRecord& area : state_->areas) {
    const bool is_static = static_cast<unsigned>(&area - state_->areas.data()) < state_->percpu_statics;
    if (area.serial != 0 && area.cookie == cookie && !is_static) return area.bytes;
  }
  return std::nullopt;
}

}  // namespace memtorture::oracle
