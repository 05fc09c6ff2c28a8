#include "allocator/page/mem_map.h"

namespace memtorture::page {
namespace {

constexpr std::uint64_t resident_pages_max = std::uint64_t{4} << 20;  // 128 MiB of descriptors kept from run to run

}  // namespace

void MemMap::boot(boot::Bank& bank, const boot::MemoryMap& memory, Validity validity) {
  memory_ = memory;
  pages_ = reinterpret_cast<Page*>(bank.kept().data());
  if (resident_ > resident_pages_max || generation_ == ~std::uint32_t{0}) {
    bank.forget_kept();
    resident_ = 0;
    generation_ = 0;
  }
  ++generation_;
  if (validity == Validity::lazy) return;
  for (Pfn pfn = 0; pfn != memory.all.end; ++pfn) first_touch(pfn);
}

void MemMap::open(Pfn pfn) {
  if (std::atomic_ref(pages_[pfn].generation).exchange(generation_, std::memory_order_relaxed) == 0) ++resident_;
  first_touch(pfn);
}

void MemMap::first_touch(Pfn pfn) {
  Page& page = pages_[pfn];
  if (page.generation == 0) ++resident_;
  const bool untouchable = memory_.is_reserved(pfn) || !memory_.exists(pfn);
  page = Page{.generation = generation_, .flags_ = untouchable ? std::uint32_t{subject::pg_reserved} : 0};
}

}  // namespace memtorture::page
