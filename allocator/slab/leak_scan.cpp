// Live objects that nothing refers to (domain.md 20.6): reachability from the caller's roots over the words of objects.
//
// Each address that is found to lie inside of a live object puts that object on a worklist, once; the words of whatever
// is on the list are looked at in turn. What is live and was never put there is a leak. Exact under two conditions,
// both the caller's: he names all his roots, and keeps addresses in words that are aligned from an object's start.
//
// The layer's own objects are no leaks, and what they contain (arrays of free objects among it) refers to nothing. The
// worklist is threaded through the records, so a scan needs no memory.
//
// Not searched: pages that are no slab's, objects of caches without checks, free objects.
#include <cstring>

#include "allocator/slab/slab.h"

namespace memtorture::slab {

using debug::BufferState;
using debug::Record;

class SlabAllocator::LeakScan {
 public:
  explicit LeakScan(SlabAllocator& slab) : slab_(slab) {}

  std::uint32_t run(std::span<const Address> roots) {
    each_live([](KmemCache&, Record& record) { record.reached = false; });
    for (const Address root : roots) follow(root);
    while (Record* const record = slab_.books_.records.at(worklist_)) {
      worklist_ = record->next;
      for (std::uint64_t i = 0; i + sizeof(Address) <= record->size(); i += sizeof(Address)) {
        Address word;
        std::memcpy(&word, slab_.at(record->object + i), sizeof(word));
        follow(word);
      }
    }
    std::uint32_t leaks = 0;
    each_live([&](KmemCache& cache, Record& record) {
      if (record.reached || record.own || !traced(cache)) return;
      ++leaks;
      slab_.accuse({.kind = machine::ReportKind::object_leak, .address = record.object, .check = machine::debug_user},
                   &cache, &record);
    });
    return leaks;
  }

 private:
  static bool traced(const KmemCache& cache) {
    return (cache.checks & machine::debug_user) != 0 && (cache.flags & subject::SLAB_NOLEAKTRACE) == 0;
  }

  void follow(Address address) {
    KmemCache* const cache = slab_.cache_of_object(address);
    if (cache == nullptr || cache->checks == 0) return;
    Record& record = slab_.nearest(*cache, address);
    if (address < record.object || address - record.object >= record.size()) return;
    if (record.state() != BufferState::live || record.own || record.reached) return;
    record.reached = true;
    record.next = worklist_;
    worklist_ = slab_.books_.records.number_of(record);
  }

  template <class F>
  void each_live(F f) {
    for (CacheHandle i = slab_.chain_; i != 0; i = slab_.cache_at(i).next) {
      KmemCache& cache = slab_.cache_at(i);
      if (cache.checks == 0) continue;
      for (unsigned node = 0; node != slab_.nodes_; ++node) {
        const List3& l3 = slab_.list3(cache, node);
        for (const SlabList* const list : {&l3.full, &l3.partial}) each_live_of(cache, *list, f);
      }
    }
  }
  template <class F>
  void each_live_of(KmemCache& cache, const SlabList& list, F& f) {
    for (Pfn first = list.first; first != no_pfn; first = slab_.slab_at(first).next) {
      Record* const records = slab_.books_.records.of_slab(first);
      for (std::uint32_t i = 0; i != cache.num; ++i) {
        if (records[i].state() == BufferState::live) f(cache, records[i]);
      }
    }
  }

  SlabAllocator& slab_;
  std::uint32_t worklist_ = debug::no_record;
};

std::uint32_t SlabAllocator::scan_leaks(std::span<const Address> roots) { return up_ ? LeakScan(*this).run(roots) : 0; }

}  // namespace memtorture::slab
