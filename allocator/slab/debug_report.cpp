// Crimes against objects become reports: what the checks know about the object goes with them.
#include "allocator/slab/slab.h"

namespace memtorture::slab {

// F and K refuse the same; where both are in force F is asked first.
std::uint8_t SlabAllocator::strict_check_of(std::uint8_t checks) {
  return (checks & machine::debug_sanity) != 0 ? machine::debug_sanity : machine::debug_shadow;
}

// cache: null where no object is concerned. record: of the object, if it has one.
void SlabAllocator::accuse(const Crime& crime, KmemCache* cache, const debug::Record* record) {
  machine::ObjectDetails details{
      .check = crime.check, .access = crime.access, .bytes = crime.bytes, .offset = crime.offset, .found = crime.found};
  if (cache != nullptr) details.cache = cache->name;
  if (record != nullptr) {
    details.start = record->object;
    details.size = record->size();
    details.allocated = record->life_allocated();
    details.freed = record->life_freed();
  }
  machine::report(
      {.kind = crime.kind, .pfn = ram().pfn_of(crime.address), .address = crime.address, .object = &details});
}

}  // namespace memtorture::slab
