// A block's way out and back. The argument is in k12.h.
#include "allocator/slab/k12.h"

#include <cstring>
#include <limits>

#include "allocator/slab/layer_pages.h"

namespace memtorture::slab {

using machine::Held;
using machine::Masked;
using machine::report;
using machine::ReportKind;
using subject::BucketList;
using subject::zero_size_ptr;

namespace {

constexpr unsigned nonatomic_complaints_max = 4;
constexpr unsigned no_page_silence_seconds = 10;

// Of our flags K12 knows how hard to try and where: its priorities. It neither retries nor kills, and it prints its own
// words when there is no page.
constexpr gfp_t priority_mask = subject::gfp_wait | subject::gfp_high | subject::gfp_io | subject::gfp_fs |
                                subject::gfp_nomemalloc | subject::gfp_dma;
constexpr gfp_t never = subject::gfp_highmem | subject::gfp_dma32 | ~subject::gfp_known;

constexpr bool zero_or_null(Address object) { return object == 0 || object == zero_size_ptr; }
constexpr BucketList list_for(gfp_t gfp) { return (gfp & subject::gfp_dma) != 0 ? BucketList::dma : BucketList::plain; }

bool reject_nmi(gfp_t gfp) {
  if (!machine::in_nmi()) return false;
  report({.kind = ReportKind::nmi_entry, .gfp = gfp});
  return true;
}

}  // namespace

void BucketAllocator::boot() {
  const machine::Shape& shape = machine_.shape();
  table_ = BucketTable(static_cast<std::uint32_t>(shape.page_bytes()), shape.orders);
  lock_.reset();
  for (auto& lists : lists_) lists[0] = lists[1] = no_pfn;
  for (auto& areas : areas_) areas = 0;
  nonatomic_.store(0, std::memory_order_relaxed);
  complain_from_.store(0, std::memory_order_relaxed);
}

AreaDescriptor& BucketAllocator::descriptor(Pfn area) {
  return *reinterpret_cast<AreaDescriptor*>(machine_.ram().frame(area).data());
}

BlockHeader& BucketAllocator::header(Pfn area, std::uint32_t offset) {
  return *reinterpret_cast<BlockHeader*>(machine_.ram().frame(area).data() + offset);
}

// --- kmalloc --------------------------------------------------------------------------------------------------------

Address BucketAllocator::kmalloc(std::uint64_t bytes, gfp_t gfp) {
  if (reject_nmi(gfp)) return 0;
  gfp = fix_context(fix_flags(gfp));
  const unsigned bucket = table_.class_of(bytes);
  if (bucket == table_.count()) {
    report({.kind = ReportKind::k12_too_large, .gfp = gfp});
    return 0;
  }
  if (faults_.should_fail("slab.alloc", bytes, gfp, 0)) return 0;
  const auto length = static_cast<std::uint32_t>(bytes);
  Taken taken;
  {
    Masked masked;
    Held held(lock_, masked, "k12.lock", "k12.unlock");
    taken = take(bucket, length, list_for(gfp), held);
  }
  if (taken.look == Look::nothing_free) taken = grow(bucket, length, gfp);
  if (taken.look == Look::corrupt) report({.kind = ReportKind::k12_freelist, .pfn = taken.area});
  if (taken.object != 0 && (gfp & subject::gfp_zero) != 0)
    std::memset(machine_.ram().at(taken.object), 0, table_[bucket].usable_bytes());
  return taken.object;
}

gfp_t BucketAllocator::fix_flags(gfp_t gfp) {
  if ((gfp & never) == 0) return gfp;
  report({.kind = ReportKind::slab_gfp, .gfp = gfp});
  return gfp & ~never;
}

// An interrupt that asks like a task is served like an interrupt; it is told so four times and then no more (7.4).
gfp_t BucketAllocator::fix_context(gfp_t gfp) {
  if ((gfp & subject::gfp_wait) == 0) return gfp;
  if (!machine::in_interrupt()) {
    machine::might_sleep();
    return machine::preemptible() ? gfp : gfp & ~subject::gfp_wait;
  }
  if (nonatomic_.load(std::memory_order_relaxed) < nonatomic_complaints_max &&
      nonatomic_.fetch_add(1, std::memory_order_relaxed) < nonatomic_complaints_max) {
    report({.kind = ReportKind::k12_nonatomic, .gfp = gfp});
  }
  return (gfp & ~subject::GFP_KERNEL) | subject::GFP_ATOMIC;
}

// A frame that may be on the list of `bucket`, and whose descriptor and first free block agree with that.
bool BucketAllocator::is_area(Pfn pfn, unsigned bucket) {
  if (pages_.page_address(pfn) == 0) return false;
  const AreaDescriptor& area = descriptor(pfn);
  return area.order == bucket && area.nfree >= 1 && area.nfree <= table_[bucket].blocks && is_link(area.next) &&
         table_[bucket].is_header(area.firstfree) && header(pfn, area.firstfree).flags == mf_free;
}

BucketAllocator::Taken BucketAllocator::take(unsigned bucket, std::uint32_t bytes, BucketList kind, const Held&) {
  Pfn& first = list_of(bucket, kind);
  if (first == no_pfn) return {.look = Look::nothing_free};
  if (!is_area(first, bucket)) return {.look = Look::corrupt, .area = first};
  const Pfn pfn = first;
  AreaDescriptor& area = descriptor(pfn);
  const std::uint32_t offset = area.firstfree;
  BlockHeader& block = header(pfn, offset);
  area.firstfree = block.length_or_link;
  if (--area.nfree == 0) {
    first = area.next;
    area.next = no_pfn;
  }
  block = {.flags = kind == BucketList::dma ? mf_dma : mf_used, .length_or_link = bytes};
  return {.look = Look::found, .object = machine_.ram().address_of(pfn) + offset + bucket_header_bytes};
}

BucketAllocator::Taken BucketAllocator::grow(unsigned bucket, std::uint32_t bytes, gfp_t gfp) {
  machine::point("k12.grow");
  const gfp_t priority = (gfp & priority_mask) | subject::gfp_noretry | subject::gfp_nowarn;
  const Pfn area = request_pages(pages_, machine_.ram(), priority, table_[bucket].order);
  if (area == no_pfn) {
    complain_no_page(gfp);
    return {.look = Look::nothing_free};
  }
  cut(area, bucket);
  Masked masked;
  Held held(lock_, masked, "k12.lock", "k12.unlock");
  Pfn& first = list_of(bucket, list_for(gfp));
  descriptor(area).next = first;
  first = area;
  ++areas_[bucket];
  return take(bucket, bytes, list_for(gfp), held);
}

// The area is nobody's business yet.
void BucketAllocator::cut(Pfn area, unsigned bucket) {
  const BucketClass& c = table_[bucket];
  for (std::uint32_t i = 0; i != c.blocks; ++i)
    header(area, c.offset_of(i)) = {.flags = mf_free, .length_or_link = i + 1 != c.blocks ? c.offset_of(i + 1) : 0};
  descriptor(area) = {.next = no_pfn, .firstfree = c.offset_of(0), .order = bucket, .nfree = c.blocks};
}

void BucketAllocator::complain_no_page(gfp_t gfp) {
  if ((gfp & subject::gfp_nowarn) != 0) return;
  const machine::Jiffies now = machine::jiffies_now();
  machine::Jiffies from = complain_from_.load(std::memory_order_relaxed);
  const machine::Jiffies silence = machine::Jiffies{no_page_silence_seconds} * machine_.shape().hz;
  if (now >= from && complain_from_.compare_exchange_strong(from, now + silence, std::memory_order_relaxed))
    report({.kind = ReportKind::k12_no_page, .gfp = gfp});
}

Address BucketAllocator::kmalloc_array(std::uint64_t n, std::uint64_t bytes, gfp_t gfp) {
  if (bytes != 0 && n > std::numeric_limits<std::uint64_t>::max() / bytes) {
    reject_nmi(gfp);
    return 0;
  }
  return kmalloc(n * bytes, gfp);
}

// --- kfree ----------------------------------------------------------------------------------------------------------

// Nothing: no block in use lies there, as far as header and descriptor tell.
std::optional<BucketAllocator::Block> BucketAllocator::block_of(Address object, const Held&) {
  const Pfn pfn = machine_.ram().pfn_of(object);
  if (pfn == no_pfn || pages_.page_address(pfn) == 0) return std::nullopt;
  const std::uint64_t offset = object - machine_.ram().address_of(pfn) - bucket_header_bytes;
  const AreaDescriptor& area = descriptor(pfn);
  if (area.order >= table_.count() || area.nfree >= table_[area.order].blocks || !is_link(area.next) ||
      !table_[area.order].is_header(offset)) {
    return std::nullopt;
  }
  const Block block{.area = pfn, .offset = static_cast<std::uint32_t>(offset)};
  const std::uint32_t flags = header(pfn, block.offset).flags;
  return flags == mf_used || flags == mf_dma ? std::optional(block) : std::nullopt;
}

void BucketAllocator::kfree_s(Address object, std::uint64_t bytes) {
  if (zero_or_null(object)) return;
  if (reject_nmi(0)) return;
  std::optional<ReportKind> wrong;
  Pfn empty = no_pfn;
  unsigned order = 0;
  {
    Masked masked;
    Held held(lock_, masked, "k12.lock", "k12.unlock");
    const std::optional<Block> block = block_of(object, held);
    if (!block) {
      wrong = ReportKind::k12_bad_free;
    } else if (bytes != 0 && bytes != header(block->area, block->offset).length_or_link) {
      wrong = ReportKind::k12_wrong_size;
    } else if (!put(*block, empty, held)) {
      wrong = ReportKind::k12_freelist;
    }
    if (empty != no_pfn) order = table_[descriptor(empty).order].order;
  }
  if (wrong) report({.kind = *wrong, .pfn = machine_.ram().pfn_of(object)});
  if (empty != no_pfn) release_pages(pages_, empty, order);
}

// False: the area's list does not have it, and nothing was changed. `empty` is an area to be given back.
bool BucketAllocator::put(const Block& block, Pfn& empty, const Held&) {
  AreaDescriptor& area = descriptor(block.area);
  BlockHeader& freed = header(block.area, block.offset);
  const unsigned bucket = area.order;
  Pfn& first = list_of(bucket, freed.flags == mf_dma ? BucketList::dma : BucketList::plain);
  const bool last = area.nfree + 1 == table_[bucket].blocks;
  if (area.nfree != 0 && last) {
    Pfn* const link = link_to(block.area, first, areas_[bucket]);
    if (link == nullptr) return false;
    *link = area.next;
  } else if (!last && area.nfree == 0) {
    area.next = first;
    first = block.area;
  }
  freed = {.flags = mf_free, .length_or_link = area.firstfree};
  area.firstfree = block.offset;
  ++area.nfree;
  if (last) {
    --areas_[bucket];
    empty = block.area;
  }
  return true;
}

// Where the list says that `area` comes next; null: nowhere, within the `areas` that there are.
Pfn* BucketAllocator::link_to(Pfn area, Pfn& first, std::uint64_t areas) {
  Pfn* link = &first;
  for (; areas != 0 && *link != area; --areas) {
    if (*link == no_pfn || pages_.page_address(*link) == 0) return nullptr;
    link = &descriptor(*link).next;
  }
  return *link == area ? link : nullptr;
}

// --- by the block's size --------------------------------------------------------------------------------------------

// Nothing: no block lies there, and that was reported.
std::optional<std::uint64_t> BucketAllocator::usable(Address object) {
  {
    Masked masked;
    Held held(lock_, masked, "k12.lock", "k12.unlock");
    if (const std::optional<Block> block = block_of(object, held))
      return table_[descriptor(block->area).order].usable_bytes();
  }
  report({.kind = ReportKind::k12_bad_free, .pfn = machine_.ram().pfn_of(object)});
  return std::nullopt;
}

std::uint64_t BucketAllocator::ksize(Address object) {
  if (object == zero_size_ptr || reject_nmi(0)) return 0;
  return usable(object).value_or(0);
}

void BucketAllocator::kzfree(Address object) {
  if (zero_or_null(object)) return;
  if (reject_nmi(0)) return;
  const std::optional<std::uint64_t> bytes = usable(object);
  if (!bytes) return;
  std::memset(machine_.ram().at(object), 0, *bytes);
  kfree(object);
}

// domain.md 11.4. A block that stays has a new bh_length: kfree_s goes by what was asked for last.
Address BucketAllocator::krealloc(Address object, std::uint64_t bytes, gfp_t gfp) {
  if (zero_or_null(object)) return kmalloc(bytes, gfp);
  if (reject_nmi(gfp)) return 0;
  const std::optional<std::uint64_t> old_bytes = usable(object);
  if (!old_bytes) return 0;
  if (bytes == 0) {
    kfree(object);
    return zero_size_ptr;
  }
  if (bytes <= *old_bytes) {
    const Pfn pfn = machine_.ram().pfn_of(object);
    const std::uint64_t offset = object - machine_.ram().address_of(pfn) - bucket_header_bytes;
    Masked masked;
    Held held(lock_, masked, "k12.lock", "k12.unlock");
    header(pfn, static_cast<std::uint32_t>(offset)).length_or_link = static_cast<std::uint32_t>(bytes);
    return object;
  }
  const Address fresh = kmalloc(bytes, gfp);
  if (fresh == 0) return 0;
  std::memcpy(machine_.ram().at(fresh), machine_.ram().at(object), *old_bytes);
  kfree(object);
  return fresh;
}

}  // namespace memtorture::slab
