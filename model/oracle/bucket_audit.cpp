// White box: the areas of K12's kmalloc (11.5) against the ledger and the reference's arithmetic.
//
// An area that has no free block is on no list, so the lists alone prove nothing. The ledger knows every block of pages
// that the layer holds: each must be an area, and every area that a list names must be one of these. Within an area
// three witnesses must agree about each block: its header, the free chain, and whether a live object starts there; with
// that nothing is in use twice, nothing is lost, and how many blocks are free says on which list the area is. A caller
// who writes beside its block destroys headers, but such a run has ended by then.
//
// Not checked: the order of lists; whether a block of DMA memory was asked for as such (its list and its mark agree).
#include <fmt/core.h>

#include <algorithm>

#include "model/oracle/state.h"

namespace memtorture::oracle {

using subject::AreaInfo;
using subject::BlockInfo;
using subject::BlockMark;
using subject::BucketList;

struct Oracle::State::BucketAuditor {
  struct Listed {
    AreaInfo area;
    unsigned bucket;
    BucketList list;
    bool seen = false;  // it is one of the blocks that the layer holds
  };

  State& s;
  subject::BucketsView& view;
  std::vector<BucketLayout> layouts = bucket_layouts(s.shape);
  std::vector<Listed> listed = {};                                                // by first frame
  std::vector<std::uint64_t> areas = std::vector<std::uint64_t>(layouts.size());  // of each class, in the ledger
  std::uint64_t in_use = 0;

  Ruling all();
  Ruling geometry();
  Ruling take_lists();
  Ruling area(const Object& held);
  Ruling chain(const AreaInfo& area, const BucketLayout& layout, const std::vector<BlockInfo>& blocks);
  Ruling list(const AreaInfo& area, const BucketLayout& layout, const std::vector<BlockInfo>& blocks);
  Ruling objects(const AreaInfo& area, const BucketLayout& layout, const std::vector<BlockInfo>& blocks);
  std::vector<BlockInfo> blocks_of(machine::Pfn first);
  std::uint64_t address_of(machine::Pfn first, const BucketLayout& layout, std::size_t block) const {
    return machine::Ram::linear_base + (std::uint64_t{first} << s.shape.page_shift) + bucket_descriptor +
           block * layout.block_bytes + bucket_header;
  }
  Ruling wrong(RuleId rule, machine::Pfn first, const std::string& what) const {
    return s.broken(rule, first, fmt::format("area {}: {}", first, what));
  }
};

Ruling Oracle::State::BucketAuditor::geometry() {
  if (view.buckets() != layouts.size())
    return s.broken("bucket.geometry", machine::no_pfn,
                    fmt::format("{} classes, not {}", view.buckets(), layouts.size()));
  for (unsigned i = 0; i != layouts.size(); ++i) {
    const subject::BucketInfo is = view.bucket(i);
    const BucketLayout& right = layouts[i];
    if (is.block_bytes == right.block_bytes && is.blocks == right.blocks && is.order == right.order) continue;
    return s.broken("bucket.geometry", machine::no_pfn,
                    fmt::format("class {}: {} blocks of {} bytes in an area of order {}, not {} of {} in one of {}", i,
                                is.blocks, is.block_bytes, is.order, right.blocks, right.block_bytes, right.order));
  }
  return Ruling::fine;
}

Ruling Oracle::State::BucketAuditor::take_lists() {
  struct Visit {
    std::vector<Listed>& into;
    unsigned bucket;
    BucketList list;
  } visit{listed, 0, BucketList::plain};
  for (visit.bucket = 0; visit.bucket != layouts.size(); ++visit.bucket) {
    for (visit.list = BucketList::plain;; visit.list = BucketList::dma) {
      view.for_each_area(
          visit.bucket, visit.list,
          [](void* arg, const AreaInfo& area) {
            auto& v = *static_cast<Visit*>(arg);
            v.into.push_back({area, v.bucket, v.list});
          },
          &visit);
      if (visit.list == BucketList::dma) break;
    }
  }
  const auto first = [](const Listed& l) { return l.area.first; };
  std::ranges::sort(listed, {}, first);
  const auto twice = std::ranges::adjacent_find(listed, {}, first);
  if (twice == listed.end()) return Ruling::fine;
  return wrong("bucket.list", first(*twice), "is on two lists, or twice on one");
}

std::vector<BlockInfo> Oracle::State::BucketAuditor::blocks_of(machine::Pfn first) {
  std::vector<BlockInfo> blocks;
  view.for_each_block(
      first, [](void* arg, const BlockInfo& block) { static_cast<std::vector<BlockInfo>*>(arg)->push_back(block); },
      &blocks);
  return blocks;
}

// The chain names every block whose header says that it is free, each once, and no other.
Ruling Oracle::State::BucketAuditor::chain(const AreaInfo& area, const BucketLayout& layout,
                                           const std::vector<BlockInfo>& blocks) {
  std::vector<std::uint64_t> chain;
  view.for_each_free_block(
      area.first,
      [](void* arg, std::uint64_t block) { static_cast<std::vector<std::uint64_t>*>(arg)->push_back(block); }, &chain);
  if (chain.size() != area.nfree)
    return wrong("bucket.chain", area.first, fmt::format("{} blocks on the chain, nfree {}", chain.size(), area.nfree));
  std::ranges::sort(chain);
  if (const auto twice = std::ranges::adjacent_find(chain); twice != chain.end())
    return wrong("bucket.chain", area.first, fmt::format("{:#x} is twice on the chain", *twice));
  std::size_t free = 0;
  for (std::size_t i = 0; i != blocks.size(); ++i) {
    const bool on_chain = std::ranges::binary_search(chain, address_of(area.first, layout, i));
    free += on_chain ? 1 : 0;
    if (blocks[i].mark == BlockMark::none || on_chain != (blocks[i].mark == BlockMark::free_))
      return wrong(
          "bucket.chain", area.first,
          fmt::format("the header of {:#x} says: {}; it is {} the chain", blocks[i].address,
                      subject::block_mark_names[static_cast<unsigned>(blocks[i].mark)], on_chain ? "on" : "not on"));
  }
  if (free != chain.size()) return wrong("bucket.chain", area.first, "the chain names what is no block");
  return Ruling::fine;
}

// None of its blocks free: on no list; all of them: it does not exist; else on the one that the blocks in use name.
Ruling Oracle::State::BucketAuditor::list(const AreaInfo& area, const BucketLayout& layout,
                                          const std::vector<BlockInfo>& blocks) {
  const auto found = std::ranges::lower_bound(listed, area.first, {}, [](const Listed& l) { return l.area.first; });
  const bool is_listed = found != listed.end() && found->area.first == area.first;
  if (is_listed) found->seen = true;
  if (area.nfree == layout.blocks) return wrong("bucket.list", area.first, "has nothing but free blocks, and stayed");
  if (is_listed != (area.nfree != 0))
    return wrong("bucket.list", area.first,
                 fmt::format("{} of {} blocks are free, and it is on {} list", area.nfree, layout.blocks,
                             is_listed ? "a" : "no"));
  const auto has = [&](BlockMark mark) { return std::ranges::find(blocks, mark, &BlockInfo::mark) != blocks.end(); };
  const bool dma = has(BlockMark::dma);
  if (dma && has(BlockMark::used)) return wrong("bucket.list", area.first, "has blocks of both lists");
  const BucketList right = dma ? BucketList::dma : BucketList::plain;
  if (is_listed && (found->list != right || &layouts[found->bucket] != &layout))
    return wrong("bucket.list", area.first,
                 fmt::format("is of class {}, {}, and on the {} list of class {}", area.bucket,
                             subject::bucket_list_names[static_cast<unsigned>(right)],
                             subject::bucket_list_names[static_cast<unsigned>(found->list)], found->bucket));
  const auto dma_kind = s.geometry.highest_kind(subject::gfp_dma);
  if (dma && dma_kind && s.geometry.zone(s.geometry.zone_of(area.first)).kind > *dma_kind)
    return wrong("bucket.list", area.first, "serves DMA, and lies in no DMA memory");
  return Ruling::fine;
}

// What is in use is live, of this class, and as long as was asked for.
Ruling Oracle::State::BucketAuditor::objects(const AreaInfo& area, const BucketLayout& layout,
                                             const std::vector<BlockInfo>& blocks) {
  for (const BlockInfo& block : blocks) {
    if (block.mark == BlockMark::free_) continue;
    const std::uint32_t index = s.objects.at(block.address);
    if (index == ObjectLedger::nobody)
      return wrong("bucket.lost", area.first, fmt::format("{:#x} is in use, and nobody's", block.address));
    const Piece& piece = s.objects.piece(index);
    if (piece.usable != layout.block_bytes - bucket_header || piece.bytes != block.length)
      return wrong("bucket.object", area.first,
                   fmt::format("{} bytes of {} at {:#x}, which were {} of {}", block.length,
                               layout.block_bytes - bucket_header, block.address, piece.bytes, piece.usable));
    ++in_use;
  }
  return Ruling::fine;
}

Ruling Oracle::State::BucketAuditor::area(const Object& held) {
  const AreaInfo area = view.area(held.first);
  if (area.bucket >= layouts.size() || layouts[area.bucket].order != held.order)
    return wrong("bucket.owner", held.first,
                 fmt::format("a block of order {} says that it is of class {}", held.order, area.bucket));
  const BucketLayout& layout = layouts[area.bucket];
  ++areas[area.bucket];
  const std::vector<BlockInfo> blocks = blocks_of(area.first);
  bool in_place = blocks.size() == layout.blocks;
  for (std::size_t i = 0; in_place && i != blocks.size(); ++i)
    in_place = blocks[i].address == address_of(area.first, layout, i);
  if (!in_place) return wrong("bucket.geometry", area.first, "its headers are not where they have to be");
  if (const Ruling ruling = chain(area, layout, blocks); ruling != Ruling::fine) return ruling;
  if (const Ruling ruling = list(area, layout, blocks); ruling != Ruling::fine) return ruling;
  return objects(area, layout, blocks);
}

Ruling Oracle::State::BucketAuditor::all() {
  if (const Ruling ruling = geometry(); ruling != Ruling::fine) return ruling;
  if (const Ruling ruling = take_lists(); ruling != Ruling::fine) return ruling;
  for (const Object& held : s.ledger.objects()) {
    if (held.serial == 0 || !held.layer || held.stack) continue;
    if (const Ruling ruling = area(held); ruling != Ruling::fine) return ruling;
  }
  if (const auto foreign = std::ranges::find(listed, false, &Listed::seen); foreign != listed.end()) {
    const machine::Pfn first = foreign->area.first;
    const bool exists = first < s.geometry.frames() && !s.geometry.absent(first);
    return wrong("bucket.owner", first,
                 fmt::format("is on a list, and the frame {}", exists ? "is " + s.whose(first) : "does not exist"));
  }
  for (unsigned i = 0; i != areas.size(); ++i) {
    if (const std::uint64_t told = view.bucket(i).areas; told != areas[i])
      return s.broken("bucket.count", machine::no_pfn, fmt::format("class {}: {} areas, not {}", i, told, areas[i]));
  }
  const auto live = std::ranges::count_if(s.objects.pieces(), [](const Piece& piece) { return piece.serial != 0; });
  if (static_cast<std::uint64_t>(live) != in_use)
    return s.broken("bucket.object", machine::no_pfn, fmt::format("{} live objects, {} blocks in use", live, in_use));
  return Ruling::fine;
}

Ruling Oracle::State::audit_buckets(subject::BucketsView& view) {
  if (panicked) return Ruling::fine;
  if (over) return first_finding.rule.empty() ? Ruling::fatal : Ruling::broken;
  if (object_ops != 0 || mutators != 0) return Ruling::fine;  // not quiescent
  return BucketAuditor{*this, view}.all();
}

}  // namespace memtorture::oracle
