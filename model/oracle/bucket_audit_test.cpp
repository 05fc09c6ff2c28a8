// The white-box comparison of K12's buckets: one area of each kind that is right, and everything that can be wrong.
//
// The plain area serves 1012 bytes, four blocks to a page; the one for DMA is of the class above a page.
#include <map>

#include "model/oracle/object_driver_test.h"

namespace memtorture::oracle::test {
namespace {

using subject::AreaInfo;
using subject::BlockInfo;
using subject::BlockMark;
using subject::BucketList;

constexpr machine::Pfn plain = 1024, dma = 16, large = 1026;
constexpr unsigned quarter = 5, double_page = 8;  // classes of 1020 bytes and of 8176

machine::Shape machine_with_buckets() {
  machine::Shape shape = toy();
  shape.objects = machine::ObjectLayer::k12;
  return shape;
}

struct Area {
  unsigned bucket;
  BucketList list;
  bool listed;
  std::uint32_t nfree;
  std::vector<std::uint64_t> chain;
  std::vector<BlockInfo> blocks;
};

// Tests bend what they want.
class View final : public subject::BucketsView {
 public:
  unsigned buckets() override { return static_cast<unsigned>(layouts.size()); }
  subject::BucketInfo bucket(unsigned i) override {
    const BucketLayout& l = layouts[i];
    std::uint64_t count = 0;
    for (const auto& [first, area] : areas) count += area.bucket == i ? 1 : 0;
    return {.block_bytes = l.block_bytes, .blocks = l.blocks, .order = l.order, .areas = count + miscounted};
  }
  void for_each_area(unsigned bucket, BucketList list, EachArea f, void* arg) override {
    for (const auto& [first, area] : areas) {
      if (area.listed && area.bucket == bucket && area.list == list) f(arg, this->area(first));
    }
    if (bucket == quarter && list == BucketList::dma) {
      for (const machine::Pfn first : listed_too) f(arg, {.first = first, .bucket = bucket, .nfree = 1});
    }
  }
  void for_each_free_block(machine::Pfn first, EachBlock f, void* arg) override {
    for (const std::uint64_t block : areas[first].chain) f(arg, block);
  }
  AreaInfo area(machine::Pfn first) override {
    if (!areas.contains(first)) return {.first = first, .bucket = ~0u, .nfree = 0};
    return {.first = first, .bucket = areas[first].bucket, .nfree = areas[first].nfree};
  }
  void for_each_block(machine::Pfn first, EachHeader f, void* arg) override {
    for (const BlockInfo& block : areas[first].blocks) f(arg, block);
  }

  // An area with nothing but free blocks.
  void cut(machine::Pfn first, unsigned bucket, BucketList list) {
    Area area{
        .bucket = bucket, .list = list, .listed = true, .nfree = layouts[bucket].blocks, .chain = {}, .blocks = {}};
    for (std::uint32_t i = 0; i != layouts[bucket].blocks; ++i) {
      const std::uint64_t block = base + first * page + 16 + i * layouts[bucket].block_bytes + 8;
      area.chain.push_back(block);
      area.blocks.push_back({.address = block, .mark = BlockMark::free_, .length = 0});
    }
    areas[first] = area;
  }
  std::uint64_t use(machine::Pfn first, std::size_t i, std::uint32_t bytes) {
    Area& area = areas[first];
    BlockInfo& block = area.blocks[i];
    block.mark = area.list == BucketList::dma ? BlockMark::dma : BlockMark::used;
    block.length = bytes;
    std::erase(area.chain, block.address);
    area.listed = --area.nfree != 0;
    return block.address;
  }

  std::vector<BucketLayout> layouts = bucket_layouts(machine_with_buckets());
  std::map<machine::Pfn, Area> areas;
  std::vector<machine::Pfn> listed_too;
  std::uint64_t miscounted = 0;
};

// A plain area with two objects, and one for DMA with its only one.
class Buckets : public Driver {
 public:
  Buckets() : Driver(machine_with_buckets()) {
    view.cut(plain, quarter, BucketList::plain);
    view.cut(dma, double_page, BucketList::dma);
    kmalloc(0, 1000, GFP_KERNEL, plain, 0, view.use(plain, 1, 1000));
    kmalloc(1, 600, GFP_KERNEL, no_pfn, 0, view.use(plain, 3, 600));
    kmalloc(2, 8000, GFP_KERNEL | subject::gfp_dma, dma, 1, view.use(dma, 0, 8000));
  }
  // first: the area that the layer asks the page layer for; no_pfn: none.
  void kmalloc(std::uint16_t slot, std::uint64_t bytes, std::uint32_t gfp, machine::Pfn first, unsigned order,
               std::uint64_t address) {
    EXPECT_EQ(call(program::Kmalloc{Out{slot}, {bytes}, {gfp}}), Ruling::fine);
    if (first != no_pfn) {
      Event e = event(EventKind::layer_requests);
      e.gfp = gfp;
      e.order = static_cast<std::uint8_t>(order);
      e.value = ~std::uint64_t{0};
      e.value2 = task_flags;
      EXPECT_EQ(oracle.on(e), Ruling::fine);
      e = event(EventKind::layer_granted);
      e.pfn = first;
      e.value2 = ~std::uint64_t{0};
      EXPECT_EQ(oracle.on(e), Ruling::fine) << oracle.finding().detail;
    }
    Event e = event(EventKind::result);
    e.value = address;
    e.value2 = ~std::uint64_t{0};
    e.pfn = static_cast<machine::Pfn>((address - base) / page);
    EXPECT_EQ(oracle.on(e), Ruling::fine) << oracle.finding().detail;
  }
  void expect_broken(std::string_view id) {
    EXPECT_EQ(oracle.audit_buckets(view), Ruling::broken) << id;
    EXPECT_EQ(rule(), id) << oracle.finding().detail;
  }
  View view;
};

using Bend = void (*)(View&);
void each_breaks(std::initializer_list<Bend> bends, std::string_view id) {
  for (const Bend bend : bends) {
    SCOPED_TRACE(testing::Message() << "bend " << &bend - bends.begin());
    Buckets d;
    bend(d.view);
    d.expect_broken(id);
  }
}

TEST(BucketAudit, AreasThatAreRight) {
  Buckets d;
  EXPECT_EQ(d.oracle.audit_buckets(d.view), Ruling::fine) << d.oracle.finding().detail;
}

TEST(BucketAudit, NotWhileAnObjectIsOnItsWay) {
  Buckets d;
  EXPECT_EQ(d.call(program::Kmalloc{Out{5}, {10}, {GFP_KERNEL}}), Ruling::fine);
  d.view.use(plain, 0, 10);
  EXPECT_EQ(d.oracle.audit_buckets(d.view), Ruling::fine);
}

TEST(BucketAudit, Geometry) {
  each_breaks(
      {+[](View& v) { v.layouts.pop_back(); }, +[](View& v) { v.layouts[quarter].block_bytes += 4; },
       +[](View& v) { v.areas[plain].blocks[2].address += 4; }, +[](View& v) { v.areas[plain].blocks.pop_back(); }},
      "bucket.geometry");
}

TEST(BucketAudit, WhoseTheAreasAre) {
  each_breaks({+[](View& v) { v.areas.erase(dma); }, +[](View& v) { v.areas[plain].bucket = double_page; },
               +[](View& v) { v.listed_too = {2000}; }, +[](View& v) { v.listed_too = {4096}; },
               +[](View& v) { v.cut(large, quarter, BucketList::plain), v.use(large, 0, 1000); }},
              "bucket.owner");
}

TEST(BucketAudit, Chain) {
  each_breaks({+[](View& v) { v.areas[plain].chain.pop_back(); }, +[](View& v) { ++v.areas[plain].nfree; },
               +[](View& v) { v.areas[plain].chain[0] = v.areas[plain].chain[1]; },
               +[](View& v) { v.areas[plain].chain[0] = v.areas[plain].blocks[1].address; },
               +[](View& v) { v.areas[plain].chain[0] += 4; },
               +[](View& v) { v.areas[plain].blocks[0].mark = BlockMark::none; },
               +[](View& v) { v.areas[plain].blocks[0].mark = BlockMark::used; }},
              "bucket.chain");
}

TEST(BucketAudit, List) {
  each_breaks({+[](View& v) { v.areas[plain].listed = false; }, +[](View& v) { v.areas[dma].listed = true; },
               +[](View& v) { v.areas[plain].list = BucketList::dma; }, +[](View& v) { v.listed_too = {plain}; },
               +[](View& v) { v.areas[plain].blocks[3].mark = BlockMark::dma; },
               +[](View& v) { v.cut(plain, quarter, BucketList::plain); }},
              "bucket.list");
}

TEST(BucketAudit, ServesDmaFromOtherMemory) {
  each_breaks({+[](View& v) {
                v.areas[plain].list = BucketList::dma;
                for (const std::size_t i : {1, 3}) v.areas[plain].blocks[i].mark = BlockMark::dma;
              }},
              "bucket.list");
}

TEST(BucketAudit, ALiveObjectThatIsNone) {
  each_breaks({+[](View& v) { v.areas[plain].blocks[1].length = 1012; },
               +[](View& v) {
                 Area& area = v.areas[plain];
                 area.blocks[1].mark = BlockMark::free_;
                 area.chain.push_back(area.blocks[1].address);
                 ++area.nfree;
               }},
              "bucket.object");
}

TEST(BucketAudit, ABlockThatNobodyHas) {
  each_breaks({+[](View& v) { v.use(plain, 0, 600); }}, "bucket.lost");
}

TEST(BucketAudit, Counts) {
  each_breaks({+[](View& v) { v.miscounted = 1; }}, "bucket.count");
}

}  // namespace
}  // namespace memtorture::oracle::test
