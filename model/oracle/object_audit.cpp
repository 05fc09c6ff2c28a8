// White box: the structures of a slab allocator (10.3) against the ledger and the reference's arithmetic.
//
// Three books must agree: the slabs' own (lists, chains, counts), the arrays', and the ledger's. A buffer is on its
// slab's free chain, in one array, a live object's, set aside by a pool, or one of the layer's own objects, and nothing
// twice; every slab is a block of the ledger that the layer holds, and every such block is a slab, or of a page pool.
// How many objects the layer keeps for itself follows from the structures that exist, up to a constant that is taken
// after boot: what is more is lost.
//
// Not checked: which buffers the layer's own objects are in, and their contents; the order of lists.
#include <fmt/core.h>

#include <algorithm>

#include "model/oracle/percpu_audit.h"
#include "model/oracle/pool_audit.h"

namespace memtorture::oracle {

using subject::CacheHandle;
using subject::CacheInfo;
using subject::SlabInfo;
using subject::SlabState;

namespace {

struct Cache {
  CacheHandle handle;
  CacheInfo info;
};

std::vector<Cache> caches_of(subject::ObjectsView& view) {
  std::vector<Cache> found;
  view.for_each_cache(
      [](void* arg, CacheHandle handle) { static_cast<std::vector<Cache>*>(arg)->push_back({handle, {}}); }, &found);
  for (Cache& cache : found) cache.info = view.cache_info(cache.handle);
  return found;
}

struct SeenSlab {
  SlabInfo info;
  SlabState state;
};

}  // namespace

struct Oracle::State::ObjectAuditor {
  State& s;
  subject::ObjectsView& view;
  Stock stock = {};
  std::vector<std::uint64_t> in_use = {};  // of one cache: addresses of the buffers that no chain has, ascending
  std::vector<std::uint64_t> cached = {};  // of one cache: what the arrays hold
  std::uint64_t slab_pages[2] = {};
  std::uint64_t slabs = 0, live = 0, waiting = 0;  // waiting: quarantined objects of kmalloc

  Ruling cache(const Cache& cache);
  std::vector<SeenSlab> slabs_of(CacheHandle handle, unsigned node);
  Ruling geometry(const Cache& cache, const CacheRecord& record);
  Ruling slab(const Cache& cache, const SeenSlab& slab, std::uint64_t& free_objects);
  Ruling array(const Cache& cache, const subject::ArrayInfo& array, unsigned node);
  Ruling objects(const Cache& cache, const CacheRecord* record);
  Ruling set_aside(const Cache& cache, std::uint32_t mine, std::uint64_t buffer, Stock::Element& element);
  const CacheRecord* record_of(CacheHandle handle) const;
  unsigned node_of(std::uint64_t buffer) const { return s.geometry.zone(s.geometry.zone_of(s.frame_of(buffer))).node; }
  std::int64_t own_objects(const std::vector<Cache>& all);
  Ruling wrong(RuleId rule, const Cache& cache, machine::Pfn pfn, std::string what) const {
    return s.broken(rule, pfn, fmt::format("cache {}: {}", cache.info.name, what));
  }
};

const CacheRecord* Oracle::State::ObjectAuditor::record_of(CacheHandle handle) const {
  const auto found =
      std::ranges::find_if(s.caches, [&](const CacheRecord& c) { return c.alive && c.handle == handle; });
  return found == s.caches.end() ? nullptr : &*found;
}

std::vector<SeenSlab> Oracle::State::ObjectAuditor::slabs_of(CacheHandle handle, unsigned node) {
  struct Visit {
    std::vector<SeenSlab> seen;
    SlabState state;
  } visit{};
  for (const SlabState state : {SlabState::full, SlabState::partial, SlabState::free}) {
    visit.state = state;
    view.for_each_slab(
        handle, node, state,
        [](void* arg, const SlabInfo& info) {
          auto& v = *static_cast<Visit*>(arg);
          v.seen.push_back({info, v.state});
        },
        &visit);
  }
  return std::move(visit.seen);
}

// What a program's own cache must look like (10.4, 10.5).
Ruling Oracle::State::ObjectAuditor::geometry(const Cache& cache, const CacheRecord& record) {
  const auto right =
      slab_layout(s.shape, record.size, record.align, flags_in_force(s.shape, record.size, record.flags));
  if (!right) return wrong("slab.geometry", cache, machine::no_pfn, "cannot exist");
  const CacheInfo& is = cache.info;
  const auto row = [](const auto&... n) { return fmt::format("{} {} {} {} {} {} {} {} {}", n...); };
  const std::string should = row(right->buffer_bytes, right->object_at, right->align, right->num, right->order,
                                 right->off_slab, right->management_bytes, right->colours, right->colour_bytes);
  const std::string have = row(is.buffer_size, is.object_offset, is.align, is.num, is.order, is.off_slab,
                               is.management_bytes, is.colour, is.colour_off);
  if (should == have) return Ruling::fine;
  return wrong("slab.geometry", cache, machine::no_pfn,
               fmt::format("buffer, offset, align, num, order, off-slab, management, colours, distance are {}, not {}",
                           have, should));
}

Ruling Oracle::State::ObjectAuditor::slab(const Cache& cache, const SeenSlab& slab, std::uint64_t& free_objects) {
  const CacheInfo& info = cache.info;
  const machine::Pfn first = slab.info.first;
  if (first >= s.geometry.frames() || s.geometry.absent(first)) return wrong("slab.owner", cache, first, "no memory");
  const Ledger::Found found = s.ledger.find(first);
  if (found.entry.holds() != Holds::live || !s.ledger.object(found.entry.payload()).layer || found.head != first ||
      found.order != info.order)
    return wrong("slab.owner", cache, first, fmt::format("a slab at frame {}, which is {}", first, s.whose(first)));
  if (s.geometry.zone(s.geometry.zone_of(first)).node != slab.info.node)
    return wrong("slab.owner", cache, first, "a slab is on the list of another node");
  for (machine::Pfn page = first; page != first + (1u << info.order); ++page) {
    const subject::SlabPageInfo back = view.slab_page(page);
    if (back.cache != cache.handle || back.descriptor != slab.info.descriptor)
      return wrong("slab.owner", cache, page, "a page of a slab does not know its slab");
  }
  ++slabs;
  slab_pages[(info.flags & subject::SLAB_RECLAIM_ACCOUNT) != 0 ? 1 : 0] += std::uint64_t{1} << info.order;

  struct Chain {
    std::vector<bool> free;
    std::uint32_t length = 0;
    bool bad = false;
  } chain{std::vector<bool>(info.num)};
  view.for_each_free_index(
      cache.handle, first,
      [](void* arg, std::uint32_t index) {
        auto& c = *static_cast<Chain*>(arg);
        ++c.length;
        if (index >= c.free.size() || c.free[index]) {
          c.bad = true;
        } else {
          c.free[index] = true;
        }
      },
      &chain);
  if (chain.bad || chain.length + slab.info.inuse != info.num)
    return wrong("slab.chain", cache, first,
                 fmt::format("{} on the chain, {} in use, {} objects", chain.length, slab.info.inuse, info.num));
  const SlabState right = slab.info.inuse == info.num ? SlabState::full
                          : slab.info.inuse == 0      ? SlabState::free
                                                      : SlabState::partial;
  if (slab.state != right)
    return wrong("slab.list", cache, first,
                 fmt::format("a slab with {} of {} in use is on the {} list", slab.info.inuse, info.num,
                             subject::slab_state_names[static_cast<unsigned>(slab.state)]));
  const std::uint32_t colours = std::max(info.colour, 1u);
  const std::uint32_t management = info.off_slab ? 0 : info.management_bytes;
  if (slab.info.colour_offset % info.colour_off != 0 || slab.info.colour_offset / info.colour_off >= colours ||
      slab.info.objects_offset != slab.info.colour_offset + management)
    return wrong("slab.geometry", cache, first,
                 fmt::format("colour offset {}, objects at {}", slab.info.colour_offset, slab.info.objects_offset));
  free_objects += chain.length;
  const std::uint64_t base = machine::Ram::linear_base + (std::uint64_t{first} << s.shape.page_shift);
  for (std::uint32_t i = 0; i != info.num; ++i) {
    if (!chain.free[i]) in_use.push_back(base + slab.info.objects_offset + std::uint64_t{i} * info.buffer_size);
  }
  return Ruling::fine;
}

Ruling Oracle::State::ObjectAuditor::array(const Cache& cache, const subject::ArrayInfo& array, unsigned node) {
  if (array.avail > array.limit || array.entries.size() != array.avail)
    return wrong("slab.array", cache, machine::no_pfn, fmt::format("{} of {} in an array", array.avail, array.limit));
  for (const std::uint64_t buffer : array.entries) {
    if (!std::ranges::binary_search(in_use, buffer))
      return wrong("slab.array", cache, s.frame_of(buffer), fmt::format("{:#x} is in an array, and free", buffer));
    if (node_of(buffer) != node)
      return wrong("slab.array", cache, s.frame_of(buffer), fmt::format("{:#x} is in another node's array", buffer));
    cached.push_back(buffer);
  }
  return Ruling::fine;
}

// An element that a pool has set aside is a buffer of its backend that no array has.
Ruling Oracle::State::ObjectAuditor::set_aside(const Cache& cache, std::uint32_t mine, std::uint64_t buffer,
                                               Stock::Element& element) {
  const PoolRecord& pool = s.pools[element.pool - 1];
  const bool right = pool.cache == mine && (mine != 0 || cache.info.object_size >= pool.bytes);
  if (!right || std::ranges::binary_search(cached, buffer))
    return wrong("pool.stock", cache, s.frame_of(buffer),
                 fmt::format("has {:#x}, which a pool of others set aside, or in an array", element.address));
  element.seen = true;
  return Ruling::fine;
}

// Every live object is a buffer in use that no array has; a program's own cache has no others, but for pools.
Ruling Oracle::State::ObjectAuditor::objects(const Cache& cache, const CacheRecord* record) {
  const auto mine = record != nullptr ? static_cast<std::uint32_t>(record - s.caches.data()) + 1 : 0;
  std::uint64_t found = 0, held_back = 0, in_stock = 0;
  for (const std::uint64_t buffer : in_use) {
    const std::uint32_t index = s.objects.at(buffer + cache.info.object_offset);
    if (index == ObjectLedger::nobody) {
      if (Stock::Element* const element = stock.find(buffer + cache.info.object_offset)) {
        if (const Ruling ruling = set_aside(cache, mine, buffer, *element); ruling != Ruling::fine) return ruling;
        ++in_stock;
        continue;
      }
      held_back += view.object_state(buffer + cache.info.object_offset) == subject::ObjectState::quarantined ? 1 : 0;
      continue;
    }
    const Piece& piece = s.objects.piece(index);
    if (piece.cache != mine || (record == nullptr && cache.info.object_size < piece.usable))
      return wrong("slab.object", cache, s.frame_of(buffer), fmt::format("has {:#x}, another cache's", piece.address));
    if (std::ranges::binary_search(cached, buffer))
      return wrong("slab.object", cache, s.frame_of(buffer),
                   fmt::format("{:#x} is live, and in an array", piece.address));
    ++found;
  }
  live += found;
  if (record == nullptr) waiting += held_back;
  if (record != nullptr && found + cached.size() + held_back + in_stock != in_use.size())
    return wrong("slab.lost", cache, machine::no_pfn,
                 fmt::format("{} live, {} in arrays, {} in pools, and {} in use", found, cached.size(), in_stock,
                             in_use.size()));
  return Ruling::fine;
}

Ruling Oracle::State::ObjectAuditor::cache(const Cache& cache) {
  const CacheRecord* record = record_of(cache.handle);
  if (record != nullptr) {
    if (const Ruling ruling = geometry(cache, *record); ruling != Ruling::fine) return ruling;
  }
  in_use.clear();
  cached.clear();
  for (unsigned node = 0; node != s.shape.nodes; ++node) {
    std::uint64_t free_objects = 0;
    for (const SeenSlab& seen : slabs_of(cache.handle, node)) {
      if (const Ruling ruling = slab(cache, seen, free_objects); ruling != Ruling::fine) return ruling;
    }
    const std::uint64_t told = view.cache_node(cache.handle, node).free_objects;
    if (told != free_objects)
      return wrong("slab.count", cache, machine::no_pfn, fmt::format("free_objects {}, not {}", told, free_objects));
  }
  std::ranges::sort(in_use);
  for (unsigned cpu = 0; cpu != s.shape.cpus; ++cpu) {
    const subject::ArrayInfo its = view.cpu_array(cache.handle, cpu);
    if (its.avail != 0 && s.is_surely_offline(cpu))
      return wrong("cpu.left", cache, machine::no_pfn,
                   fmt::format("{} objects in the array of cpu {}, which has gone", its.avail, cpu));
    if (const Ruling ruling = array(cache, its, cpu % s.shape.nodes); ruling != Ruling::fine) return ruling;
  }
  for (unsigned node = 0; node != s.shape.nodes; ++node) {
    if (const Ruling ruling = array(cache, view.shared_array(cache.handle, node), node); ruling != Ruling::fine)
      return ruling;
    for (unsigned home = 0; home != s.shape.nodes; ++home) {
      const subject::ArrayInfo its = view.alien_array(cache.handle, node, home);
      if (its.avail != 0 && s.is_surely_deserted(node))
        return wrong(
            "cpu.left", cache, machine::no_pfn,
            fmt::format("{} objects of node {} in an array of node {}, whose CPUs have gone", its.avail, home, node));
      if (const Ruling ruling = array(cache, its, home); ruling != Ruling::fine) return ruling;
    }
  }
  std::ranges::sort(cached);
  if (const auto twice = std::ranges::adjacent_find(cached); twice != cached.end())
    return wrong("slab.array", cache, s.frame_of(*twice), fmt::format("{:#x} is twice in the arrays", *twice));
  return objects(cache, record);
}

// Objects in use in the caches that no program made, less those of programs and less what the structures that exist
// take: the same at all times.
std::int64_t Oracle::State::ObjectAuditor::own_objects(const std::vector<Cache>& all) {
  std::int64_t own = 0, kmalloced = 0;
  for (const Piece& piece : s.objects.pieces())
    kmalloced += piece.serial != 0 && piece.cache == 0 && !piece.is_block ? 1 : 0;
  for (const Cache& cache : all) {
    const bool made = record_of(cache.handle) != nullptr;
    if (made) --own;  // its struct
    for (unsigned node = 0; node != s.shape.nodes; ++node) {
      --own;  // its node structure
      for (const SeenSlab& slab : slabs_of(cache.handle, node)) {
        if (!made) own += slab.info.inuse;
        if (cache.info.off_slab) --own;
      }
      const auto count = [&](const subject::ArrayInfo& array) {
        if (array.limit != 0) --own;
        if (!made) own -= array.avail;
      };
      count(view.shared_array(cache.handle, node));
      for (unsigned home = 0; home != s.shape.nodes; ++home) count(view.alien_array(cache.handle, node, home));
      for (unsigned cpu = node; cpu < s.shape.cpus; cpu += s.shape.nodes) count(view.cpu_array(cache.handle, cpu));
    }
  }
  return own - kmalloced - static_cast<std::int64_t>(waiting + stock.kmalloced);
}

void Oracle::State::begin_objects(subject::ObjectsView& view) {
  ObjectAuditor auditor{*this, view};
  own_objects = auditor.own_objects(caches_of(view));
}

Ruling Oracle::State::audit_objects(subject::ObjectsView& view, subject::MempoolsView* pools_view,
                                    subject::PercpuView* percpu_view) {
  if (panicked) return Ruling::fine;
  if (over) return first_finding.rule.empty() ? Ruling::fatal : Ruling::broken;
  if (object_ops != 0 || mutators != 0) return Ruling::fine;  // not quiescent
  ObjectAuditor auditor{*this, view};
  if (pools_view != nullptr) {
    if (const Ruling ruling = take_stock(*pools_view, auditor.stock); ruling != Ruling::fine) return ruling;
  } else if (std::ranges::any_of(pools, &PoolRecord::alive)) {
    return Ruling::fine;
  }
  Chunks chunks;
  if (percpu_layout.unit_bytes != 0) {
    if (percpu_view == nullptr) return Ruling::fine;
    if (const Ruling ruling = look_at_chunks(*percpu_view, chunks); ruling != Ruling::fine) return ruling;
    auditor.stock.kmalloced += chunks.kmalloced;
  }
  const std::vector<Cache> all = caches_of(view);
  for (const Cache& cache : all) {
    if (const Ruling ruling = auditor.cache(cache); ruling != Ruling::fine) return ruling;
  }
  for (const CacheRecord& record : caches) {
    const bool listed = std::ranges::any_of(all, [&](const Cache& c) { return c.handle == record.handle; });
    if (record.alive && !listed) return broken("slab.owner", machine::no_pfn, "a cache is not on the chain");
  }
  if (const auto lost = std::ranges::find(auditor.stock.elements, false, &Stock::Element::seen);
      lost != auditor.stock.elements.end())
    return broken("pool.stock", frame_of(lost->address),
                  fmt::format("{:#x} is set aside, and no object in use", lost->address));
  std::uint64_t in_slabs = 0, blocks = auditor.slabs + auditor.stock.blocks + chunks.blocks;
  for (const Piece& piece : objects.pieces()) {
    if (piece.serial != 0) ++(piece.is_block ? blocks : in_slabs);
  }
  const auto held =
      std::ranges::count_if(ledger.objects(), [](const Object& o) { return o.serial != 0 && o.layer && !o.stack; });
  if (static_cast<std::uint64_t>(held) != blocks)
    return broken(
        "slab.owner", machine::no_pfn,
        fmt::format("{} blocks of pages, {} slabs, elements of page pools and chunks of per-CPU memory", held, blocks));
  if (in_slabs != auditor.live)
    return broken("slab.object", machine::no_pfn, fmt::format("{} live objects, {} in slabs", in_slabs, auditor.live));
  for (const auto kind : {subject::SlabPages::unreclaimable, subject::SlabPages::reclaimable}) {
    const std::uint64_t told = view.slab_pages(kind), right = auditor.slab_pages[static_cast<unsigned>(kind)];
    if (told != right)
      return broken("slab.count", machine::no_pfn, fmt::format("{} pages of slabs are counted, not {}", told, right));
  }
  const std::int64_t own = auditor.own_objects(all);
  if (own != own_objects)
    return broken("slab.lost", machine::no_pfn, fmt::format("{} objects more than the layer needs", own - own_objects));
  return Ruling::fine;
}

}  // namespace memtorture::oracle
