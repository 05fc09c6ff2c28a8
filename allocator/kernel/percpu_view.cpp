// Per-CPU memory as a facet: its layout, the static variables, and the white-box view. Reads without locks: nothing may
// run.
#include <cstddef>
#include <iterator>

#include "allocator/kernel/kernel.h"

namespace memtorture::kernel {

using percpu::Chunk;
using percpu::KernelSection;

namespace {

struct Variable {
  std::string_view name;
  std::uint32_t offset, bytes;
  std::uint64_t initial;
};
constexpr KernelSection begin;
constexpr Variable variables[] = {
    {"events", offsetof(KernelSection, events), sizeof begin.events, begin.events},
    {"packets", offsetof(KernelSection, packets), sizeof begin.packets, begin.packets},
    {"ticks", offsetof(KernelSection, ticks), sizeof begin.ticks, begin.ticks},
};

}  // namespace

subject::PercpuLayout Kernel::percpu_layout() {
  const percpu::Layout& layout = percpu_.layout();
  return {.unit_bytes = layout.unit_bytes,
          .units = layout.units,
          .size_max = layout.unit_bytes,
          .static_bytes = layout.static_bytes,
          .reserved_bytes = layout.reserved_bytes,
          .first_chunk = percpu_.first_base(),
          .static_cookie = percpu::PercpuAllocator::static_cookie};
}

unsigned Kernel::static_variables() { return std::size(variables); }

subject::StaticVariable Kernel::static_variable(unsigned index) {
  const Variable& v = variables[index];
  return {v.name, percpu::PercpuAllocator::static_cookie + v.offset, v.bytes, v.initial};
}

subject::PercpuCounts Kernel::percpu_counts() {
  return {percpu_.empty_pages(), percpu_.failures_told(), percpu_.work_pending()};
}

void Kernel::for_each_percpu_chunk(EachPercpuChunk f, void* arg) {
  percpu_.for_each_chunk([&](Chunk& chunk) {
    f(arg, {.role = chunk.role,
            .base = percpu_.base_of(chunk),
            .first = chunk.first,
            .order = chunk.order,
            .free_bytes = chunk.free_bytes,
            .map_used = chunk.map_used,
            .map_alloc = chunk.map_alloc,
            .slot = chunk.slot,
            .descriptor = chunk.self,
            .map = chunk.map,
            .empty_pages = chunk.empty_pages});
  });
}

void Kernel::for_each_percpu_area(std::uint64_t descriptor, EachPercpuArea f, void* arg) {
  percpu_.map_of(percpu_.chunk_at(descriptor)).for_each([&](std::uint32_t offset, std::uint32_t bytes, bool used) {
    f(arg, {offset, bytes, used});
  });
}

bool Kernel::populated(std::uint64_t descriptor, unsigned cpu, unsigned page) {
  return (percpu_.chunk_at(descriptor).backed()[cpu] >> page & 1) != 0;
}

}  // namespace memtorture::kernel
