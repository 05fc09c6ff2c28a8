// An area's way out and back. The argument is in percpu.h.
//
// Differences from K26: BUG is a report and a refusal. A request is atomic if its flags do not allow to wait; one that
// may wait but must not start I/O or call a filesystem is not (what K61 made of that refused such requests with memory
// at hand), and its flags go on to whoever is asked for memory. Chunks are found by their ranges and not by a word in
// their pages' descriptors, so that every address can be asked about.
#include "allocator/percpu/percpu.h"

#include <bit>
#include <utility>

namespace memtorture::percpu {

using machine::Masked;
using machine::PercpuFailure;
using machine::report;
using machine::ReportKind;
using subject::PercpuRole;

namespace {

// Of a caller's flags these are for whoever is asked for memory; no other has a meaning for chunks and maps.
constexpr gfp_t passed_on = subject::GFP_KERNEL | subject::gfp_noretry | subject::gfp_nowarn | subject::gfp_nomemalloc;

bool reject_nmi(gfp_t gfp) {
  if (!machine::in_nmi()) return false;
  report({.kind = ReportKind::nmi_entry, .gfp = gfp});
  return true;
}

template <class T>
void add_to(std::byte* at, std::uint64_t value) {
  T old;
  std::memcpy(&old, at, sizeof old);
  old = static_cast<T>(old + value);
  std::memcpy(at, &old, sizeof old);
}

}  // namespace

// --- requests -------------------------------------------------------------------------------------------------------

PercpuPtr PercpuAllocator::alloc(std::uint64_t bytes, std::uint64_t align, gfp_t gfp) {
  return request(bytes, align, gfp, Area::dynamic);
}

PercpuPtr PercpuAllocator::alloc_reserved(std::uint64_t bytes, std::uint64_t align) {
  return request(bytes, align, subject::GFP_KERNEL, Area::reserved);
}

bool PercpuAllocator::admissible(std::uint64_t bytes, std::uint64_t align) const {
  return bytes != 0 && bytes <= layout_.unit_bytes && std::has_single_bit(align) &&
         align <= machine_.shape().page_bytes();
}

PercpuPtr PercpuAllocator::request(std::uint64_t bytes, std::uint64_t align, gfp_t gfp, Area area) {
  if (reject_nmi(gfp) || !up_) return subject::no_percpu;
  if (!admissible(bytes, align)) {
    report({.kind = ReportKind::percpu_illegal, .gfp = static_cast<gfp_t>(align), .address = bytes});
    return subject::no_percpu;
  }
  Want want{static_cast<std::uint32_t>(bytes), static_cast<std::uint32_t>(align), gfp & passed_on, area};
  if (!want.atomic() && !machine::might_sleep()) want.gfp &= ~subject::gfp_wait;
  const Place place = want.atomic() ? take_atomic(want) : take_patiently(want);
  return place.chunk != nullptr ? hand_out(place, want) : subject::no_percpu;
}

PercpuAllocator::Place PercpuAllocator::take_atomic(const Want& want) {
  Place place;
  bool work;
  {
    Masked masked;
    Held held(lock_, masked, "percpu.lock", "percpu.unlock");
    const bool found = take(want, place, held) == Found::yes;
    if (!found) place = {};
    if (!found && want.area == Area::dynamic) atomic_failed_ = true;
    work = atomic_failed_ || (empty_pages_ < empty_pages_low && unpopulated_pages_ != 0);
  }
  if (work) schedule_work();
  return place;
}

// Each turn ends, or makes the next one find more: a longer map, or one more chunk.
PercpuAllocator::Place PercpuAllocator::take_patiently(const Want& want) {
  mutex_.lock();
  Place place;
  for (;;) {
    Found found;
    {
      Masked masked;
      Held held(lock_, masked, "percpu.lock", "percpu.unlock");
      found = take(want, place, held);
    }
    if (found == Found::yes) break;
    if (found == Found::map_full) {
      if (extend_map(*place.chunk, want.gfp)) continue;
      return fail(want, PercpuFailure::map);
    }
    if (want.area == Area::reserved) return fail(want, PercpuFailure::reserved);
    Chunk* const chunk = create_chunk(want.gfp);
    if (chunk == nullptr) return fail(want, PercpuFailure::chunk);
    add_chunk(*chunk);
  }
  if (!populate(place, want)) {
    {
      Masked masked;
      Held held(lock_, masked, "percpu.lock", "percpu.unlock");
      release(*place.chunk, place.offset, held);
    }
    return fail(want, PercpuFailure::populate);
  }
  bool work;
  {
    Masked masked;
    Held held(lock_, masked, "percpu.lock", "percpu.unlock");
    work = (empty_pages_ < empty_pages_low && unpopulated_pages_ != 0) || has_surplus(held);
  }
  mutex_.unlock();
  if (work) schedule_work();
  return place;
}

// More than one chunk without areas: while one was made for us another may have lost its last area, and what we took,
// or could not keep, was of neither.
bool PercpuAllocator::has_surplus(const Held&) const {
  const SlotList& whole = slots_[slot_of(layout_.unit_bytes) + 1];
  return whole.first != whole.last;
}

// With the mutex, which it gives back.
PercpuAllocator::Place PercpuAllocator::fail(const Want& want, PercpuFailure why) {
  bool work;
  {
    Masked masked;
    Held held(lock_, masked, "percpu.lock", "percpu.unlock");
    work = has_surplus(held);
  }
  mutex_.unlock();
  if (work) schedule_work();
  if ((want.gfp & subject::gfp_nowarn) != 0) return {};
  bool tell, last;
  {
    Masked masked;
    Held held(lock_, masked, "percpu.lock", "percpu.unlock");
    tell = failures_told_ != failures_told_max;
    if (tell) ++failures_told_;
    last = tell && failures_told_ == failures_told_max;
  }
  if (tell)
    report({.kind = ReportKind::percpu_failed,
            .order = static_cast<std::uint8_t>(why),
            .gfp = want.align,
            .address = want.bytes});
  if (last) report({.kind = ReportKind::percpu_limit});
  return {};
}

// --- maps -----------------------------------------------------------------------------------------------------------

PercpuAllocator::Found PercpuAllocator::take(const Want& want, Place& place, const Held& held) {
  if (want.area == Area::reserved) return take_from(chunk_at(reserved_), want, place, held);
  for (unsigned slot = slot_of(want.bytes); slot != slots_max; ++slot) {
    for (Address i = slots_[slot].first; i != 0; i = chunk_at(i).next) {
      const Found found = take_from(chunk_at(i), want, place, held);
      if (found != Found::no) return found;
    }
  }
  return Found::no;
}

PercpuAllocator::Found PercpuAllocator::take_from(Chunk& chunk, const Want& want, Place& place, const Held& held) {
  if (want.bytes > chunk.largest) return Found::no;
  if (chunk.map_alloc - chunk.map_used < 2) {
    if (want.atomic()) {
      chunk.wants_map = atomic_failed_ = true;
      return Found::no;
    }
    place.chunk = &chunk;
    return Found::map_full;
  }
  std::uint32_t largest = 0;
  const auto taken = map_of(chunk).take(want.bytes, want.align, places(want.atomic() ? chunk.populated : ~0u), largest);
  if (!taken) {
    chunk.largest = largest;
    relocate(chunk, held);
    return Found::no;
  }
  chunk.free_bytes -= taken->bytes;
  recount_empty(chunk, held);
  relocate(chunk, held);
  place = {&chunk, taken->offset};
  return Found::yes;
}

bool PercpuAllocator::release(Chunk& chunk, std::uint32_t offset, const Held& held) {
  const auto released = map_of(chunk).release(offset);
  if (!released) return false;
  chunk.free_bytes += released->bytes;
  chunk.largest = std::max(chunk.largest, released->merged);
  recount_empty(chunk, held);
  relocate(chunk, held);
  return true;
}

// Populated pages without an area.
void PercpuAllocator::recount_empty(Chunk& chunk, const Held&) {
  if (chunk.role == PercpuRole::reserved) return;
  std::uint32_t empty = chunk.populated;
  const Places all = places(~0u);
  map_of(chunk).for_each([&](std::uint32_t offset, std::uint32_t bytes, bool used) {
    if (used) empty &= ~all.pages_of(offset, bytes);
  });
  const auto count = static_cast<std::uint32_t>(std::popcount(empty));
  empty_pages_ += count - chunk.empty_pages;
  chunk.empty_pages = count;
}

unsigned PercpuAllocator::slot_for(const Chunk& chunk) const {
  if (chunk.free_bytes < piece_min || chunk.largest < piece_min) return 0;
  return is_whole(chunk) ? slot_of(layout_.unit_bytes) + 1 : slot_of(chunk.free_bytes);
}

// One that has given goes to the front of the list it comes to, one that got something back to the end.
void PercpuAllocator::relocate(Chunk& chunk, const Held&) {
  const unsigned slot = slot_for(chunk);
  if (chunk.role == PercpuRole::reserved || slot == chunk.slot) return;
  const bool last = slot < chunk.slot;
  unlink(chunk);
  link(chunk, slot, last);
}

void PercpuAllocator::link(Chunk& chunk, unsigned slot, bool last) {
  SlotList& list = slots_[slot];
  chunk.slot = static_cast<std::uint8_t>(slot);
  chunk.prev = last ? list.last : 0;
  chunk.next = last ? 0 : list.first;
  (chunk.prev != 0 ? chunk_at(chunk.prev).next : list.first) = chunk.self;
  (chunk.next != 0 ? chunk_at(chunk.next).prev : list.last) = chunk.self;
}

void PercpuAllocator::unlink(Chunk& chunk) {
  SlotList& list = slots_[chunk.slot];
  (chunk.prev != 0 ? chunk_at(chunk.prev).next : list.first) = chunk.next;
  (chunk.next != 0 ? chunk_at(chunk.next).prev : list.last) = chunk.prev;
}

// --- population -----------------------------------------------------------------------------------------------------

// With the mutex: only its holder populates. What was populated for nothing stays for the next.
bool PercpuAllocator::populate(const Place& place, const Want& want) {
  const std::uint32_t pages = places(~0u).pages_of(place.offset, want.bytes);
  for (unsigned page = 0; page != layout_.unit_pages; ++page) {
    if ((pages >> page & 1) == 0 || (place.chunk->populated >> page & 1) != 0) continue;
    if (!populate_page(*place.chunk, page, want.gfp)) return false;
  }
  return true;
}

// For all CPUs, or for none.
bool PercpuAllocator::populate_page(Chunk& chunk, unsigned page, gfp_t gfp) {
  for (unsigned cpu = 0; cpu != layout_.units; ++cpu) {
    if (backing_.back(chunk, cpu, page, gfp)) continue;
    while (cpu-- != 0) backing_.unback(chunk, cpu, page);
    return false;
  }
  Masked masked;
  Held held(lock_, masked, "percpu.lock", "percpu.unlock");
  chunk.populated |= 1u << page;
  --unpopulated_pages_;
  recount_empty(chunk, held);
  return true;
}

PercpuPtr PercpuAllocator::hand_out(const Place& place, const Want& want) {
  for (unsigned cpu = 0; cpu != layout_.units; ++cpu)
    std::memset(at(backing_.address(*place.chunk, cpu, place.offset)), 0, want.bytes);
  return backing_.address(*place.chunk, 0, place.offset) - first_base_ + static_cookie;
}

// --- the way back ---------------------------------------------------------------------------------------------------

void PercpuAllocator::free(PercpuPtr area) {
  if (area == subject::no_percpu) return;
  if (reject_nmi(0)) return;
  const Address address = per_cpu_ptr(area, 0);
  bool known = false, work = false;
  {
    Masked masked;
    Held held(lock_, masked, "percpu.lock", "percpu.unlock");
    std::uint32_t offset = 0;
    Chunk* const chunk = up_ ? chunk_of(address, offset, held) : nullptr;
    known = chunk != nullptr && release(*chunk, offset, held);
    if (known && is_whole(*chunk)) work = chunk->next != 0 || chunk->prev != 0;  // there is another one
  }
  if (!known) report({.kind = ReportKind::percpu_bad_free, .address = address});
  if (work) schedule_work();
}

// Null: in no chunk's first unit, or a static variable.
Chunk* PercpuAllocator::chunk_of(Address address, std::uint32_t& offset, const Held&) {
  Chunk* found = nullptr;
  for_each_chunk([&](Chunk& chunk) {
    if (chunk.role == PercpuRole::reserved || address - base_of(chunk) >= layout_.unit_bytes) return;
    found = &chunk;
  });
  if (found == nullptr) return nullptr;
  offset = static_cast<std::uint32_t>(address - base_of(*found));
  if (found->role != PercpuRole::first) return found;
  if (offset < layout_.static_bytes) return nullptr;
  return offset < layout_.static_bytes + layout_.reserved_bytes ? &chunk_at(reserved_) : found;
}

// --- additions ------------------------------------------------------------------------------------------------------

unsigned PercpuAllocator::this_cpu_add(PercpuPtr area, std::uint64_t value, unsigned width) const {
  Masked masked;
  const unsigned cpu = masked.cpu();
  std::byte* const copy = at(per_cpu_ptr(area, cpu));
  switch (width) {
    case 1: add_to<std::uint8_t>(copy, value); break;
    case 2: add_to<std::uint16_t>(copy, value); break;
    case 4: add_to<std::uint32_t>(copy, value); break;
    default: add_to<std::uint64_t>(copy, value); break;
  }
  return cpu;
}

}  // namespace memtorture::percpu
