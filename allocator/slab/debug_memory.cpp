// What the checks write into simulated memory, and what they find there (domain.md 10.8).
//
//   free       6b 6b ... 6b a5     words on both sides 0x09f911029d74e35b
//   live       5a 5a ... 5a a5, then the caller's     0xd84156c5635688c0     behind them: who had it last
//
// Memory is believed to say what a criminal wants it to say, so nothing here follows what it reads there, with one
// exception: the chain of a slab, where each index is looked at before it is used. Words are read and written as
// relaxed atomics, because two contexts that free one object without F and K both get this far.
#include <atomic>
#include <bit>
#include <cstring>

#include "allocator/slab/slab.h"

namespace memtorture::slab {

using debug::BufferState;
using debug::Record;
using machine::ReportKind;

namespace {

std::atomic_ref<std::uint64_t> word_at(std::byte* at) { return std::atomic_ref(*reinterpret_cast<std::uint64_t*>(at)); }

std::uint64_t load(std::byte* at) { return word_at(at).load(std::memory_order_relaxed); }

// Of the first byte that differs from the expected word; 8: none does.
unsigned first_wrong_byte(std::uint64_t word, std::uint64_t expected) {
  return static_cast<unsigned>(std::countr_zero(word ^ expected)) / 8;
}

}  // namespace

void SlabAllocator::set_redzones(KmemCache& cache, Address object, std::uint64_t word) {
  word_at(at(object - redzone_align)).store(word, std::memory_order_relaxed);
  word_at(at(object + cache.object_size)).store(word, std::memory_order_relaxed);
}

bool SlabAllocator::redzones_inactive(KmemCache& cache, Address object) {
  return load(at(object - redzone_align)) == debug::redzone_inactive &&
         load(at(object + cache.object_size)) == debug::redzone_inactive;
}

// Behind the object and its red zone, if the geometry left room.
void SlabAllocator::set_user(KmemCache& cache, Address object) {
  if ((cache.flags & subject::SLAB_STORE_USER) == 0) return;
  const machine::Context& me = machine::current();
  const Address place = object + cache.object_size + ((cache.flags & subject::SLAB_RED_ZONE) != 0 ? redzone_align : 0);
  if (platform_.word_bytes == 4) {
    const std::uint32_t user = std::uint32_t{me.id} << 16 | (me.op & 0xffff);
    std::memcpy(at(place), &user, sizeof(user));
  } else {
    const std::uint64_t user = std::uint64_t{me.id} << 32 | me.op;
    std::memcpy(at(place), &user, sizeof(user));
  }
}

// Of an object that is being given back.
void SlabAllocator::check_redzones(KmemCache& cache, const Record& record) {
  const struct {
    std::int64_t offset;
    std::uint64_t word;
  } sides[] = {{-std::int64_t{redzone_align}, load(at(record.object - redzone_align))},
               {cache.object_size, load(at(record.object + cache.object_size))}};
  for (const auto& [offset, word] : sides) {
    const unsigned wrong = first_wrong_byte(word, debug::redzone_active);
    if (wrong == 8) continue;
    return accuse({.kind = ReportKind::object_redzone,
                   .address = record.object + static_cast<std::uint64_t>(offset + wrong),
                   .check = machine::debug_redzone,
                   .offset = offset + wrong,
                   .found = static_cast<std::uint8_t>(word >> 8 * wrong)},
                  &cache, &record);
  }
}

// Of a free object.
void SlabAllocator::check_poison(KmemCache& cache, const Record& record) {
  const std::byte* const bytes = at(record.object);
  const auto wrong = debug::first_not_poison(bytes, cache.object_size);
  if (!wrong) return;
  accuse({.kind = ReportKind::object_poison,
          .address = record.object + *wrong,
          .check = machine::debug_poison,
          .offset = static_cast<std::int64_t>(*wrong),
          .found = std::to_integer<std::uint8_t>(bytes[*wrong])},
         &cache, &record);
}

// --- slabs ----------------------------------------------------------------------------------------------------------

// A new slab, on no list yet.
void SlabAllocator::check_in(KmemCache& cache, Slab& slab) {
  const Address base = ram().address_of(slab.first);
  Address object = base + slab.s_mem + cache.object_offset;
  if ((cache.checks & machine::debug_shadow) != 0)
    books_.shadow.fill(base - machine::Ram::linear_base, std::uint64_t{platform_.page_bytes()} << cache.order,
                       debug::shadow_guard);
  for (Record& record : books_.records.add_slab(slab.first, cache.num)) {
    record.object = object;
    record.owner = cache.self;
    record.bytes = cache.buffer_size;
    if ((cache.checks & machine::debug_poison) != 0)
      debug::fill_poison(at(object), cache.object_size, debug::poison_free);
    if ((cache.checks & machine::debug_redzone) != 0) set_redzones(cache, object, debug::redzone_inactive);
    object += cache.buffer_size;
  }
}

// An empty slab that is on no list any more.
void SlabAllocator::check_out(KmemCache& cache, Slab& slab) {
  if (strict(cache)) sound(cache, slab);
  if ((cache.checks & machine::debug_poison) != 0) {
    Record* const records = books_.records.of_slab(slab.first);
    for (std::uint32_t i = 0; i != cache.num; ++i) check_poison(cache, records[i]);
  }
  books_.records.remove_slab(slab.first, cache.num);
}

// The chain ends, what is on it is free, and the rest is `inuse`; otherwise reported. The slab is on no list, or its
// list is held.
bool SlabAllocator::sound(KmemCache& cache, Slab& slab) {
  Record* const records = books_.records.of_slab(slab.first);
  const std::uint32_t* const next = bufctl(slab);
  std::uint32_t free_objects = 0;
  bool good = true;
  for (std::uint32_t i = slab.free; good && i != bufctl_end; i = next[i]) {
    good = i < cache.num && ++free_objects <= cache.num;
    if (!good) break;
    const BufferState state = records[i].state();
    good = state == BufferState::fresh || state == BufferState::freed;
  }
  if (good && slab.inuse + free_objects == cache.num) return true;
  accuse({.kind = ReportKind::slab_corrupt,
          .address = ram().address_of(slab.first),
          .check = strict_check_of(cache.checks)},
         &cache, nullptr);
  return false;
}

}  // namespace memtorture::slab
