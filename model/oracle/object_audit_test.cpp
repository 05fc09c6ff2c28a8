// The white-box comparison of slabs: a cache with one slab that is right, and everything that can be wrong with it.
//
// The cache is for 700 bytes on a machine with 64-bit words: 5 objects on a page, and by the rule of the reference 11
// on two pages where there is more than 32 MiB; here the descriptor is in the slab.
#include <map>

#include "model/oracle/driver_test.h"
#include "model/oracle/slab_geometry.h"

namespace memtorture::oracle::test {
namespace {

using program::Of;
using subject::CacheHandle;
using subject::GFP_KERNEL;

constexpr std::uint64_t base = machine::Ram::linear_base, page = 4096;
constexpr machine::Pfn first = 1024;
constexpr CacheHandle handle = base + 1040 * page;

machine::Shape machine_with_slabs() {
  machine::Shape shape = toy();
  shape.objects = machine::ObjectLayer::slab;
  return shape;
}

// One cache, one slab, one array; tests bend what they want.
class View final : public subject::ObjectsView {
 public:
  View() {
    const SlabLayout layout = *slab_layout(machine_with_slabs(), 700, 0, 0);
    info = {.name = "c",
            .flags = 0,
            .object_size = 704,
            .buffer_size = layout.buffer_bytes,
            .object_offset = layout.object_at,
            .align = layout.align,
            .num = layout.num,
            .order = layout.order,
            .management_bytes = layout.management_bytes,
            .off_slab = layout.off_slab,
            .management_cache = 0,
            .colour = layout.colours,
            .colour_off = layout.colour_bytes,
            .limit = 54,
            .batchcount = 27,
            .shared = 0};
    slab = {.first = first,
            .descriptor = base + first * page,
            .colour_offset = 0,
            .objects_offset = layout.management_bytes,
            .inuse = 0,
            .node = 0};
    for (std::uint32_t i = 0; i != info.num; ++i) chain.push_back(i);
  }
  std::uint64_t buffer(std::uint32_t i) const {
    return base + first * page + slab.objects_offset + i * info.buffer_size;
  }
  // Buffer i leaves the chain: it is handed out, or goes into the array.
  std::uint64_t use(std::uint32_t i) {
    std::erase(chain, i);
    ++slab.inuse;
    state = slab.inuse == info.num ? subject::SlabState::full : subject::SlabState::partial;
    return buffer(i);
  }
  void park(std::uint64_t address) { array.push_back(address); }

  void for_each_cache(EachCache f, void* arg) override {
    if (on_chain) f(arg, handle);
  }
  subject::CacheInfo cache_info(CacheHandle) override { return info; }
  subject::ArrayInfo cpu_array(CacheHandle, unsigned) override {
    return {.avail = static_cast<std::uint32_t>(array.size()), .limit = limit, .batchcount = 27, .entries = array};
  }
  subject::ArrayInfo shared_array(CacheHandle, unsigned) override { return {}; }
  subject::ArrayInfo alien_array(CacheHandle, unsigned, unsigned) override { return {}; }
  subject::CacheNodeInfo cache_node(CacheHandle, unsigned) override { return {free_objects(), 100, 0}; }
  void for_each_slab(CacheHandle, unsigned, subject::SlabState which, EachSlab f, void* arg) override {
    if (has_slab && which == state) f(arg, slab);
  }
  void for_each_free_index(CacheHandle, machine::Pfn, EachIndex f, void* arg) override {
    for (const std::uint32_t index : chain) f(arg, index);
  }
  subject::SlabPageInfo slab_page(machine::Pfn) override { return {back, slab.descriptor}; }
  std::uint64_t slab_pages(subject::SlabPages kind) override {
    return kind == subject::SlabPages::unreclaimable ? pages : 0;
  }
  subject::ObjectState object_state(std::uint64_t) override { return subject::ObjectState::unknown; }
  std::uint64_t object_requested(std::uint64_t) override { return 0; }
  std::uint64_t free_objects() const { return has_slab ? chain.size() + miscounted : 0; }

  subject::CacheInfo info;
  subject::SlabInfo slab;
  subject::SlabState state = subject::SlabState::free;
  std::vector<std::uint32_t> chain;
  std::vector<std::uint64_t> array;
  std::uint32_t limit = 54;
  CacheHandle back = handle;
  std::uint64_t pages = 0, miscounted = 0;
  bool on_chain = false, has_slab = false;
};

// A cache that was created, with its slab.
class Slabs : public Driver {
 public:
  Slabs() : Driver(machine_with_slabs()) {
    for (std::size_t i = 0; i != the_case.slot_names.size(); ++i) the_case.slot_names[i] = "s" + std::to_string(i);
    oracle.begin_objects(view);
    EXPECT_EQ(call(program::CacheCreate{Out{0}, {700}, {0}, {0}, {0}}), Ruling::fine);
    EXPECT_EQ(returned(handle), Ruling::fine);
    view.on_chain = true;
    // Its struct, its array and its node structure are objects of caches that this view does not show.
    view.pages = std::uint64_t{1} << view.info.order;
    EXPECT_EQ(call(program::Kmalloc{Out{60}, {0}, {GFP_KERNEL}}), Ruling::fine);
    Event e = event(EventKind::layer_requests);
    e.gfp = GFP_KERNEL;
    e.order = static_cast<std::uint8_t>(view.info.order);
    e.value = ~std::uint64_t{0};
    e.value2 = task_flags;
    EXPECT_EQ(oracle.on(e), Ruling::fine);
    e = event(EventKind::layer_granted);
    e.pfn = first;
    e.value2 = ~std::uint64_t{0};
    EXPECT_EQ(oracle.on(e), Ruling::fine) << oracle.finding().detail;
    EXPECT_EQ(returned(subject::zero_size_ptr), Ruling::fine);
    view.has_slab = true;
  }
  void object(std::uint16_t slot, std::uint64_t address) {
    EXPECT_EQ(call(program::CacheAlloc{Out{slot}, Of{0}, {GFP_KERNEL}}), Ruling::fine);
    Event e = event(EventKind::result);
    e.value = address;
    e.value2 = ~std::uint64_t{0};
    e.pfn = static_cast<machine::Pfn>((address - base) / page);
    EXPECT_EQ(oracle.on(e), Ruling::fine) << oracle.finding().detail;
  }
  // The one thing that the view does not explain: three objects of the layer less than before the cache came.
  void expect_fine() {
    EXPECT_EQ(oracle.audit_objects(view), Ruling::broken);
    EXPECT_EQ(rule(), "slab.lost");
    EXPECT_EQ(oracle.finding().detail, "-3 objects more than the layer needs");
  }
  void expect_broken(std::string_view id) {
    EXPECT_EQ(oracle.audit_objects(view), Ruling::broken);
    EXPECT_EQ(rule(), id) << oracle.finding().detail;
    EXPECT_NE(oracle.finding().detail, "-3 objects more than the layer needs");
  }
  View view;
};

TEST(ObjectAudit, ASlabThatIsRight) {
  Slabs d;
  d.object(1, d.view.use(3));
  d.view.park(d.view.use(0));
  d.expect_fine();
}

TEST(ObjectAudit, Geometry) {
  for (const auto bend :
       {+[](View& v) { --v.info.num, v.chain.pop_back(); }, +[](View& v) { v.info.colour_off *= 2; },
        +[](View& v) { v.slab.colour_offset = 64 * 1000; }, +[](View& v) { v.slab.objects_offset += 8; }}) {
    Slabs d;
    bend(d.view);
    d.expect_broken("slab.geometry");
  }
}

TEST(ObjectAudit, WhoseThePagesAre) {
  for (const auto bend : {+[](View& v) { v.slab.first = 2000; }, +[](View& v) { v.back = 0; },
                          +[](View& v) { v.on_chain = false; }, +[](View& v) { v.has_slab = false; }}) {
    Slabs d;
    bend(d.view);
    d.expect_broken("slab.owner");
  }
}

TEST(ObjectAudit, Chain) {
  for (const auto bend : {+[](View& v) { v.chain.pop_back(); }, +[](View& v) { v.chain.back() = v.chain.front(); },
                          +[](View& v) { v.slab.inuse = 1; }, +[](View& v) { v.chain.back() = 99; }}) {
    Slabs d;
    bend(d.view);
    d.expect_broken("slab.chain");
  }
}

TEST(ObjectAudit, List) {
  Slabs d;
  d.object(1, d.view.use(3));
  d.view.state = subject::SlabState::full;
  d.expect_broken("slab.list");
}

TEST(ObjectAudit, Array) {
  for (const auto bend :
       {+[](View& v) { v.park(v.buffer(0)); }, +[](View& v) { v.park(v.use(0)), v.park(v.buffer(0)); },
        +[](View& v) { v.park(v.use(0)), v.limit = 0; }}) {
    Slabs d;
    bend(d.view);
    d.expect_broken("slab.array");
  }
}

TEST(ObjectAudit, ALiveObjectThatIsFree) {
  Slabs d;
  d.object(1, d.view.buffer(2));
  d.expect_broken("slab.object");
}

TEST(ObjectAudit, ALiveObjectThatIsParked) {
  Slabs d;
  d.object(1, d.view.use(2));
  d.view.park(d.view.buffer(2));
  d.expect_broken("slab.object");
}

TEST(ObjectAudit, Counts) {
  for (const auto bend : {+[](View& v) { v.miscounted = 1; }, +[](View& v) { ++v.pages; }}) {
    Slabs d;
    bend(d.view);
    d.expect_broken("slab.count");
  }
}

TEST(ObjectAudit, AnObjectThatNobodyHas) {
  Slabs d;
  d.view.use(2);
  d.expect_broken("slab.lost");
}

}  // namespace
}  // namespace memtorture::oracle::test
