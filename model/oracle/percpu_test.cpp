// Per-CPU memory: every rule and crime of the facet, each by the shortest history that earns it.
//
// Two CPUs, units of 8 KiB. The first chunk is in the frames 1032..1035, of which 64 bytes are static and 1 KiB is
// reserved; later chunks are in 1036..1039. Static variable 0 has 8 bytes, variable 1 has 1 byte and begins at 250.
#include "model/oracle/no_caches_test.h"
#include "model/oracle/object_driver_test.h"

namespace memtorture::oracle::test {
namespace {

using program::Count;
using subject::PercpuRole;

constexpr std::uint64_t unit = 8192, cookies = 0x1'0000'0000'0000;
constexpr std::uint64_t first_chunk = base + 1032 * page, later_chunk = base + 1036 * page;
constexpr std::uint64_t dynamic = cookies + 64 + 1024;  // the first that is for everybody

machine::Shape two_cpus() {
  machine::Shape shape = toy_with_objects();
  shape.cpus = 2;
  shape.percpu = machine::Toggle::on;
  return shape;
}

// The first chunk and its reserved part, as they are when nobody has anything; tests bend what they want.
class View final : public subject::PercpuView {
 public:
  struct Chunk {
    subject::PercpuChunkInfo info;
    std::vector<subject::PercpuAreaInfo> areas;
    std::uint32_t backed[2];
  };
  View() {
    chunks.push_back({{.role = PercpuRole::first,
                       .base = first_chunk,
                       .first = 1032,
                       .order = 2,
                       .free_bytes = unit - 1088,
                       .map_used = 2,
                       .map_alloc = 16,
                       .slot = 10,
                       .descriptor = slab + 1024,
                       .map = slab + 2048,
                       .empty_pages = 1},
                      {{0, 1088, true}, {1088, unit - 1088, false}},
                      {3, 3}});
    chunks.push_back({{.role = PercpuRole::reserved,
                       .base = first_chunk,
                       .first = 1032,
                       .order = 2,
                       .free_bytes = 1024,
                       .map_used = 2,
                       .map_alloc = 16,
                       .slot = 0,
                       .descriptor = slab + 3072,
                       .map = slab + 4096,
                       .empty_pages = 0},
                      {{0, 64, true}, {64, 1024, false}},
                      {3, 3}});
    counts = {.empty_pages = 1, .failures_told = 0, .work_pending = false};
  }
  Chunk& at(std::uint64_t descriptor) {
    for (Chunk& chunk : chunks)
      if (chunk.info.descriptor == descriptor) return chunk;
    return chunks[0];
  }
  subject::PercpuCounts percpu_counts() override { return counts; }
  void for_each_percpu_chunk(EachPercpuChunk f, void* arg) override {
    for (const Chunk& chunk : chunks) f(arg, chunk.info);
  }
  void for_each_percpu_area(std::uint64_t descriptor, EachPercpuArea f, void* arg) override {
    for (const auto& area : at(descriptor).areas) f(arg, area);
  }
  bool populated(std::uint64_t descriptor, unsigned cpu, unsigned p) override {
    return (at(descriptor).backed[cpu] >> p & 1) != 0;
  }
  std::vector<Chunk> chunks;
  subject::PercpuCounts counts{};
};

class Percpu : public Objects {
 public:
  explicit Percpu(std::size_t programs = 1) : Objects(two_cpus(), programs) {
    oracle.begin_objects(caches);
    (void)call(program::Kmalloc{Out{61}, {0}, {GFP_KERNEL}});
    take(1032, 2);
    EXPECT_EQ(got(zero_size_ptr), Ruling::fine) << why();
    const subject::StaticVariable variables[] = {{"a", cookies, 8, 0}, {"b", cookies + 8, 1, 250}};
    EXPECT_EQ(oracle.begin_percpu({.unit_bytes = unit,
                                   .units = 2,
                                   .size_max = unit,
                                   .static_bytes = 64,
                                   .reserved_bytes = 1024,
                                   .first_chunk = first_chunk,
                                   .static_cookie = cookies},
                                  variables),
              Ruling::fine);
  }
  Ruling place(std::uint8_t of, std::uint64_t address, std::uint64_t dirty = ~std::uint64_t{0}) {
    Event e = event(EventKind::percpu_place);
    e.order = of;
    e.value = address;
    e.value2 = dirty;
    return oracle.on(e);
  }
  Ruling asks(std::uint16_t slot, std::uint64_t bytes, std::uint64_t align = 8) {
    return call(program::AllocPercpu{Out{slot}, {bytes}, {align}});
  }
  Ruling asks_atomic(std::uint16_t slot, std::uint64_t bytes) {
    return call(program::AllocPercpuGfp{Out{slot}, {bytes}, {8}, {GFP_ATOMIC}});
  }
  Ruling gets(std::uint64_t cookie) {
    for (std::uint8_t c = 0; c != 2; ++c) (void)place(c, cookie - cookies + first_chunk + c * unit);
    return returned(cookie);
  }
  void area(std::uint16_t slot, std::uint64_t cookie, std::uint64_t bytes = 8) {
    EXPECT_EQ(asks(slot, bytes), Ruling::fine) << crime();
    EXPECT_EQ(gets(cookie), Ruling::fine) << why();
  }
  Ruling refused(std::uint8_t room = 0) {
    Event e = event(EventKind::result);
    e.detail = room;
    return oracle.on(e);
  }
  void variable(std::uint16_t slot, std::uint32_t index = 0) {
    (void)call(program::PerCpuVar{Out{slot}, {index}});
    EXPECT_EQ(returned(cookies + 8 * index), Ruling::fine) << why();
  }
  void pin() {
    (void)call(program::PreemptDisable{});
    preempt_count += 1;
    EXPECT_EQ(returned(), Ruling::fine);
  }
  void unpin() {
    (void)call(program::PreemptEnable{});
    preempt_count -= 1;
    EXPECT_EQ(returned(), Ruling::fine);
  }
  Ruling add(std::uint16_t slot, std::uint32_t value = 1) { return call(program::ThisCpuAdd{Of{slot}, {value}}); }
  Ruling raw_add(std::uint16_t slot, std::uint32_t value = 1) { return call(program::RawCpuAdd{Of{slot}, {value}}); }
  Ruling added(std::uint64_t loaded, std::uint8_t to, std::uint8_t lost = 0) {
    Event e = event(EventKind::result);
    e.order = to;
    e.value = loaded;
    e.detail = lost;
    return oracle.on(e);
  }
  Ruling holds(std::uint64_t cookie, std::uint8_t of, std::uint64_t value, std::uint32_t damage = 0) {
    Event e = event(EventKind::contents);
    e.detail = 2;
    e.order = of;
    e.value = value;
    e.value2 = cookie;
    e.gfp = damage;
    return oracle.on(e);
  }
  Ruling frees(std::uint16_t slot, std::uint16_t offset = 0) { return call(program::FreePercpu{In{slot, offset}}); }
  Ruling get_ptr(std::uint16_t slot, std::uint16_t of) {
    (void)call(program::GetCpuPtr{Out{slot}, Of{of}});
    preempt_count += 1;
    return Ruling::fine;
  }
  Ruling audit(View& view) { return oracle.audit_objects(caches, nullptr, &view); }
  // Nothing is wrong with per-CPU memory: the comparison goes on, and misses the slabs of this subject.
  void is_right(View& view) { breaks(audit(view), "slab.owner"); }

  NoCaches caches;
};

// --- areas -----------------------------------------------------------------------------------------------------------

TEST(Percpu, AreasComeAndGo) {
  Percpu d;
  d.area(0, dynamic);
  d.area(1, dynamic + 8, 24);
  EXPECT_EQ(d.holds(dynamic, 0, 0), Ruling::fine) << d.why();
  EXPECT_EQ(d.frees(0), Ruling::fine);
  EXPECT_EQ(d.returned(), Ruling::fine) << d.why();
  d.area(2, dynamic);
}

TEST(Percpu, CopiesAreWhereTheyHaveToBe) {
  const auto place = [](std::uint64_t cookie, std::uint64_t cpu0, std::uint64_t cpu1, std::uint64_t align = 8) {
    Percpu d;
    EXPECT_EQ(d.asks(0, 8, align), Ruling::fine);
    (void)d.place(0, cpu0);
    (void)d.place(1, cpu1);
    d.breaks(d.returned(cookie), "percpu.place");
  };
  const std::uint64_t right = first_chunk + 1088;
  place(dynamic, right, right + unit + 8);                               // another offset
  place(dynamic, right, right);                                          // the same
  place(dynamic + 8, right, right + unit);                               // the cookie leads elsewhere
  place(dynamic, right, right + unit, 4096);                             // not aligned
  place(cookies + 64, first_chunk + 64, first_chunk + 64 + unit);        // the reserved part
  place(dynamic + unit, right + unit, right + 2 * unit);                 // the second unit
  place(dynamic + 4 * unit, right + 4 * unit, right + 5 * unit);         // no memory of the layer's
  place(cookies + (slab - first_chunk), slab + 64 * page, slab + unit);  // no memory at all that it has

  Percpu one;
  EXPECT_EQ(one.asks(0, 8), Ruling::fine);
  (void)one.place(0, right);
  one.breaks(one.returned(dynamic), "percpu.place");

  Percpu overlap;
  overlap.area(0, dynamic, 24);
  EXPECT_EQ(overlap.asks(1, 8), Ruling::fine);
  overlap.breaks(overlap.gets(dynamic + 16), "percpu.place");
}

TEST(Percpu, CopiesAreZeroed) {
  Percpu d;
  EXPECT_EQ(d.asks(0, 8), Ruling::fine);
  (void)d.place(0, first_chunk + 1088);
  (void)d.place(1, first_chunk + 1088 + unit, 3);
  d.breaks(d.returned(dynamic), "percpu.zero");
}

TEST(Percpu, CopiesArePopulated) {
  Percpu d;
  EXPECT_EQ(d.asks(0, 8), Ruling::fine);
  (void)d.place(0, first_chunk + 1088);
  Event e = d.event(EventKind::percpu_place);
  e.order = 1;
  e.detail = 1;
  e.value = first_chunk + 1088 + unit;
  e.value2 = ~std::uint64_t{0};
  EXPECT_EQ(d.oracle.on(e), Ruling::fine);
  d.breaks(d.returned(dynamic), "percpu.populate");
}

TEST(Percpu, RefusalsHaveAReason) {
  Percpu d;
  EXPECT_EQ(d.asks(0, 8), Ruling::fine);
  EXPECT_EQ(d.report(ReportKind::percpu_failed), Ruling::fine);
  d.breaks(d.refused(), "percpu.fail");

  Percpu injected;
  EXPECT_EQ(injected.asks(0, 8), Ruling::fine);
  EXPECT_EQ(injected.told(EventKind::faulted, 0, machine::Site("percpu.populate").index()), Ruling::fine);
  EXPECT_EQ(injected.report(ReportKind::percpu_failed), Ruling::fine);
  EXPECT_EQ(injected.refused(), Ruling::fine) << injected.why();

  Percpu silent;
  EXPECT_EQ(silent.asks(0, 8), Ruling::fine);
  EXPECT_EQ(silent.told(EventKind::faulted, 0, machine::Site("percpu.chunk").index()), Ruling::fine);
  silent.breaks(silent.refused(), "page.report.missing");

  Percpu atomic;
  EXPECT_EQ(atomic.asks_atomic(0, 8), Ruling::fine);
  EXPECT_EQ(atomic.refused(0), Ruling::fine) << "nothing is populated";
  EXPECT_EQ(atomic.asks_atomic(0, 8), Ruling::fine);
  atomic.breaks(atomic.refused(1), "percpu.fail");

  Percpu reserved;
  EXPECT_EQ(reserved.call(program::AllocPercpuReserved{Out{0}, {1000}, {8}}), Ruling::fine);
  EXPECT_EQ(reserved.gets(cookies + 64), Ruling::fine) << reserved.why();
  EXPECT_EQ(reserved.call(program::AllocPercpuReserved{Out{1}, {100}, {8}}), Ruling::fine);
  EXPECT_EQ(reserved.report(ReportKind::percpu_failed), Ruling::fine);
  EXPECT_EQ(reserved.refused(), Ruling::fine) << reserved.why();
  EXPECT_EQ(reserved.frees(0), Ruling::fine);
  EXPECT_EQ(reserved.returned(), Ruling::fine);
  EXPECT_EQ(reserved.call(program::AllocPercpuReserved{Out{1}, {100}, {8}}), Ruling::fine);
  EXPECT_EQ(reserved.report(ReportKind::percpu_failed), Ruling::fine);
  reserved.breaks(reserved.refused(), "percpu.fail");
}

TEST(Percpu, FailuresAreToldTenTimes) {
  Percpu d;
  const auto failure = [&](bool told) {
    EXPECT_EQ(d.asks(0, 8), Ruling::fine);
    EXPECT_EQ(d.told(EventKind::faulted, 0, machine::Site("percpu.chunk").index()), Ruling::fine);
    return told ? d.report(ReportKind::percpu_failed) : Ruling::fine;
  };
  for (unsigned i = 0; i != 10; ++i) {
    EXPECT_EQ(failure(true), Ruling::fine);
    if (i == 9) EXPECT_EQ(d.report(ReportKind::percpu_limit), Ruling::fine) << d.why();
    EXPECT_EQ(d.refused(), Ruling::fine);
  }
  EXPECT_EQ(failure(false), Ruling::fine);
  EXPECT_EQ(d.refused(), Ruling::fine);
  d.breaks(failure(true), "page.report.spurious");
}

TEST(Percpu, WhatIsNoSizeIsRefused) {
  for (const auto& [bytes, align] :
       {std::pair<std::uint64_t, std::uint64_t>{0, 1}, {unit + 1, 1}, {8, 0}, {8, 8192}, {8, 24}}) {
    Percpu d;
    d.is_crime(d.asks(0, bytes, align), "percpu-illegal");
    EXPECT_EQ(d.report(ReportKind::percpu_illegal), Ruling::fine);
    EXPECT_EQ(d.refused(), Ruling::fine) << d.why();
    Percpu granted;
    (void)granted.asks(0, bytes, align);
    (void)granted.report(ReportKind::percpu_illegal);
    granted.breaks(granted.gets(dynamic), "percpu.null");
  }
}

TEST(Percpu, ChunksAreForWhoMayWait) {
  Percpu d;
  EXPECT_EQ(d.asks(0, unit, 1), Ruling::fine);
  d.take(1036, 2);
  EXPECT_EQ(d.gets(cookies + (later_chunk - first_chunk)), Ruling::fine) << d.why();
  Percpu atomic;
  EXPECT_EQ(atomic.asks_atomic(0, unit), Ruling::fine);
  Event e = atomic.event(EventKind::layer_requests);
  e.gfp = GFP_KERNEL;
  e.value = ~std::uint64_t{0};
  atomic.breaks(atomic.oracle.on(e), "layer.gfp");
  // ... and stay while an area is in them.
  EXPECT_EQ(d.call(program::Kmalloc{Out{2}, {8}, {GFP_KERNEL}}), Ruling::fine);
  d.breaks(d.gives_back(1036, 2), "percpu.chunk");
}

TEST(Percpu, FreesThatAreNone) {
  Percpu d;
  d.area(0, dynamic, 64);
  d.is_crime(d.frees(0, 8), "percpu-bad-free");
  EXPECT_EQ(d.report(ReportKind::percpu_bad_free), Ruling::fine);
  EXPECT_EQ(d.returned(), Ruling::fine) << d.why();
  EXPECT_EQ(d.frees(0), Ruling::fine);
  EXPECT_EQ(d.returned(), Ruling::fine);
  EXPECT_EQ(d.frees(0), Ruling::crime) << "again";
  d.breaks(d.returned(), "page.report.missing");

  Percpu taken;
  taken.area(0, dynamic);
  EXPECT_EQ(taken.frees(0), Ruling::fine);
  EXPECT_EQ(taken.returned(), Ruling::fine);
  taken.area(1, dynamic);
  taken.is_fatal(taken.frees(0), "percpu-bad-free");

  Percpu of_the_kernel;
  of_the_kernel.variable(0);
  of_the_kernel.is_crime(of_the_kernel.frees(0), "percpu-bad-free");
}

TEST(Percpu, NobodyUsesWhatWasGivenUp) {
  Percpu d;
  d.area(0, dynamic);
  EXPECT_EQ(d.frees(0), Ruling::fine);
  EXPECT_EQ(d.returned(), Ruling::fine);
  d.is_fatal(d.add(0), "percpu-use-after-free");

  Percpu used(2);
  used.area(0, dynamic);
  EXPECT_EQ(used.add(0), Ruling::fine);
  used.who = 1;
  used.is_fatal(used.frees(0), "percpu-use-after-free");
}

TEST(Percpu, AtomicContextIsTold) {
  Percpu d;
  d.pin();
  d.is_crime(d.asks(0, 8), "sleep-in-atomic");
  EXPECT_EQ(d.report(ReportKind::sleeping), Ruling::fine);
  EXPECT_EQ(d.gets(dynamic), Ruling::fine) << d.why();
  EXPECT_EQ(d.asks_atomic(1, 8), Ruling::fine);
}

// --- copies ----------------------------------------------------------------------------------------------------------

TEST(Percpu, PinsTellWhereOneIs) {
  Percpu d;
  d.cpu = 1;
  (void)d.call(program::GetCpu{Out{0}});
  d.preempt_count = 1;
  d.breaks(d.returned(0), "percpu.cpu");

  Percpu pointer;
  pointer.area(0, dynamic);
  pointer.cpu = 1;
  (void)pointer.get_ptr(1, 0);
  pointer.breaks(pointer.returned(first_chunk + 1088), "percpu.cpu");

  Percpu any;
  any.area(0, dynamic);
  (void)any.call(program::PerCpuPtr{Out{1}, Of{0}, {1}});
  EXPECT_EQ(any.returned(first_chunk + 1088 + unit), Ruling::fine) << any.why();
  (void)any.call(program::PerCpuPtr{Out{1}, Of{0}, {1}});
  any.breaks(any.returned(first_chunk + 1088), "percpu.cpu");

  Percpu elsewhere;
  elsewhere.variable(0);
  elsewhere.pin();
  EXPECT_EQ(elsewhere.add(0), Ruling::fine);
  elsewhere.breaks(elsewhere.added(0, 1), "percpu.cpu");
}

TEST(Percpu, CountersHoldWhatWasAdded) {
  Percpu d;
  d.variable(0, 1);
  EXPECT_EQ(d.add(0, 10), Ruling::fine);
  EXPECT_EQ(d.added(0, 1), Ruling::fine) << "it may have moved";
  EXPECT_EQ(d.holds(cookies + 8, 0, 250), Ruling::fine) << d.why();
  EXPECT_EQ(d.holds(cookies + 8, 1, 4), Ruling::fine) << d.why();
  (void)d.call(program::PerCpuSum{Of{0}});
  EXPECT_EQ(d.returned(254), Ruling::fine) << d.why();
  d.breaks(d.holds(cookies + 8, 0, 4), "percpu.content");

  Percpu total;
  total.variable(0);
  (void)total.call(program::PerCpuSum{Of{0}});
  total.breaks(total.returned(1), "percpu.content");

  Percpu loaded;
  loaded.variable(0);
  loaded.pin();
  EXPECT_EQ(loaded.raw_add(0), Ruling::fine);
  loaded.breaks(loaded.added(7, 0), "percpu.content");

  Percpu tail;
  tail.area(0, dynamic, 64);
  tail.breaks(tail.holds(dynamic, 1, 0, 9), "percpu.content");

  Percpu beside(2);  // while another adds, nobody knows
  beside.variable(0);
  beside.pin();
  EXPECT_EQ(beside.add(0), Ruling::fine);
  beside.who = 1;
  beside.preempt_count = 0;
  (void)beside.call(program::PerCpuSum{Of{0}});
  EXPECT_EQ(beside.returned(0), Ruling::fine) << beside.why();
}

TEST(Percpu, WithoutAPinItIsACrime) {
  Percpu d;
  d.variable(0);
  d.is_crime(d.raw_add(0), "percpu-unpinned");
  EXPECT_EQ(d.report(ReportKind::processor_id), Ruling::fine);
  EXPECT_EQ(d.added(0, 0), Ruling::fine) << d.why();
  EXPECT_EQ(d.raw_add(0), Ruling::crime);
  d.breaks(d.added(1, 0), "page.report.missing");

  Percpu one_step;
  one_step.variable(0);
  EXPECT_EQ(one_step.add(0), Ruling::fine);

  Percpu pointer;
  pointer.variable(0);
  pointer.is_crime(pointer.call(program::ThisCpuPtr{Out{1}, Of{0}}), "processor-id-preemptible");
}

TEST(Percpu, WhoMovedHasAStaleNumber) {
  Percpu d;
  d.variable(0);
  (void)d.call(program::GetCpu{Out{1}});
  d.preempt_count = 1;
  EXPECT_EQ(d.returned(0), Ruling::fine) << d.why();
  d.unpin();
  d.pin();
  EXPECT_EQ(d.call(program::PerCpuAdd{Of{0}, In{1}, {1}}), Ruling::fine) << "it did not";
  EXPECT_EQ(d.added(0, 0), Ruling::fine) << d.why();
  d.cpu = 1;
  d.is_crime(d.call(program::PerCpuAdd{Of{0}, In{1}, {1}}), "percpu-stale");
}

TEST(Percpu, HandlersComeBetween) {
  for (const auto kind : {machine::ContextKind::softirq, machine::ContextKind::hardirq, machine::ContextKind::nmi}) {
    for (const bool handler_first : {false, true}) {
      Percpu d(2);
      d.the_case.programs[1].kind = kind;
      d.variable(0);
      const auto handler = [&] {
        d.who = 1;
        d.preempt_count = kind == machine::ContextKind::nmi       ? machine::nmi_offset
                          : kind == machine::ContextKind::hardirq ? machine::hardirq_offset
                                                                  : machine::softirq_offset;
        const Ruling ruling = d.add(0);
        EXPECT_EQ(d.added(0, 0), Ruling::fine) << d.why();
        d.who = 0;
        d.preempt_count = 0;
        return ruling;
      };
      if (handler_first) EXPECT_EQ(handler(), Ruling::fine);
      d.pin();
      const Ruling task = d.raw_add(0);
      EXPECT_EQ(d.added(handler_first ? 1 : 0, 0), Ruling::fine) << d.why();
      d.unpin();
      d.is_crime(handler_first ? task : handler(), "percpu-irq");
    }
  }
}

TEST(Percpu, MasksKeepHandlersAway) {
  Percpu d(2);
  d.the_case.programs[1].kind = machine::ContextKind::hardirq;
  d.variable(0);
  d.irqs = machine::IrqFlag::off;
  EXPECT_EQ(d.raw_add(0), Ruling::fine);
  EXPECT_EQ(d.added(0, 0), Ruling::fine) << d.why();
  d.who = 1;
  d.preempt_count = machine::hardirq_offset;
  EXPECT_EQ(d.raw_add(0), Ruling::fine);
}

TEST(Percpu, RemoteCopiesNeedOneLock) {
  const auto remote = [](bool locked, bool own_locked) {
    Percpu d(2);
    d.variable(0);
    (void)d.call(program::PerCpuPtr{Out{1}, Of{0}, {1}});
    EXPECT_EQ(d.returned(first_chunk + unit), Ruling::fine) << d.why();
    const auto lock = [&](bool really) {
      if (!really) return d.pin();
      (void)d.call(program::SpinLockOp{{1}});
      d.preempt_count += 1;
      EXPECT_EQ(d.returned(), Ruling::fine) << d.why();
    };
    lock(locked);
    Ruling ruling = d.call(program::PtrAdd{In{1}, {1}});
    if (ruling != Ruling::fine) return std::string(d.crime());
    EXPECT_EQ(d.added(0, 1), Ruling::fine) << d.why();
    if (locked) (void)d.call(program::SpinUnlockOp{{1}});
    d.preempt_count = 0;
    if (locked) (void)d.returned();
    d.who = 1;
    d.cpu = 1;
    lock(own_locked);
    ruling = d.raw_add(0);
    return std::string(d.crime());
  };
  EXPECT_EQ(remote(true, true), "");
  EXPECT_EQ(remote(false, true), "percpu-remote");
  EXPECT_EQ(remote(true, false), "percpu-remote");
}

TEST(Percpu, ALostUpdateIsWhatTheRunIsToldFor) {
  Percpu d;
  d.variable(0);
  EXPECT_EQ(d.raw_add(0), Ruling::crime);
  EXPECT_EQ(d.report(ReportKind::processor_id), Ruling::fine);
  d.is_crime(d.added(0, 0, 1), "lost-update");
  EXPECT_NE(d.oracle.crime().detail.find("percpu-unpinned"), std::string::npos);
}

// --- the white box ---------------------------------------------------------------------------------------------------

TEST(Percpu, ChunksAreCompared) {
  const auto broken = [](std::string_view rule, auto bend) {
    Percpu d;
    View view;
    bend(view);
    d.breaks(d.audit(view), rule);
  };
  Percpu right;
  View view;
  right.is_right(view);

  broken("percpu.map", [](View& v) { v.chunks[0].areas[0].bytes = 1080; });
  broken("percpu.map", [](View& v) { v.chunks[0].areas[1].used = true; });
  broken("percpu.map", [](View& v) { v.chunks[0].info.free_bytes -= 8; });
  broken("percpu.map", [](View& v) { v.chunks[0].info.map_used = 3; });
  broken("percpu.map", [](View& v) {
    v.chunks[0].areas[1].bytes -= 8;
    v.chunks[0].areas.push_back({unit - 8, 8, false});
    v.chunks[0].info.map_used = 3;
  });
  broken("percpu.populate", [](View& v) { v.chunks[0].backed[1] = 1; });
  broken("percpu.populate", [](View& v) { v.chunks[0].info.empty_pages = 0; });
  broken("percpu.populate", [](View& v) { v.counts.empty_pages = 2; });
  broken("percpu.chunk", [](View& v) { v.chunks[0].info.slot = 9; });
  broken("percpu.chunk", [](View& v) { v.chunks[0].info.base += page; });
  broken("percpu.chunk", [](View& v) { v.chunks[0].info.order = 1; });
  broken("percpu.chunk", [](View& v) { v.chunks.pop_back(); });
}

TEST(Percpu, AreasAreCompared) {
  Percpu d;
  d.area(0, dynamic, 64);
  View view;
  d.breaks(d.audit(view), "percpu.map");  // live, and free in the map

  Percpu unpopulated;
  unpopulated.area(0, dynamic, 64);
  View bare;
  bare.chunks[0].areas = {{0, 1088, true}, {1088, 64, true}, {1152, unit - 1152, false}};
  bare.chunks[0].info.map_used = 3;
  bare.chunks[0].info.free_bytes = unit - 1152;
  bare.chunks[0].backed[0] = bare.chunks[0].backed[1] = 2;
  unpopulated.breaks(unpopulated.audit(bare), "percpu.populate");
}

TEST(Percpu, OneChunkWithoutAreasStays) {
  Percpu d;
  EXPECT_EQ(d.asks(0, unit, 1), Ruling::fine);
  d.take(1036, 2);
  EXPECT_EQ(d.gets(cookies + (later_chunk - first_chunk)), Ruling::fine) << d.why();
  EXPECT_EQ(d.asks(1, unit, 1), Ruling::fine);
  d.take(1040, 2);
  EXPECT_EQ(d.gets(cookies + (later_chunk - first_chunk) + 2 * unit), Ruling::fine) << d.why();
  for (std::uint16_t slot = 0; slot != 2; ++slot) {
    EXPECT_EQ(d.frees(slot), Ruling::fine);
    EXPECT_EQ(d.returned(), Ruling::fine);
  }
  View view;
  for (const machine::Pfn first : {1036u, 1040u}) {
    view.chunks.push_back({{.role = PercpuRole::later,
                            .base = base + first * page,
                            .first = first,
                            .order = 2,
                            .free_bytes = unit,
                            .map_used = 1,
                            .map_alloc = 16,
                            .slot = 12,
                            .descriptor = slab + first * 8,
                            .map = slab + first * 8 + 4,
                            .empty_pages = 0},
                           {{0, unit, false}},
                           {0, 0}});
  }
  view.counts.work_pending = true;
  d.is_right(view);
  Percpu done;  // the same again, and nothing is going to happen
  EXPECT_EQ(done.asks(0, unit, 1), Ruling::fine);
  done.take(1036, 2);
  EXPECT_EQ(done.gets(cookies + (later_chunk - first_chunk)), Ruling::fine);
  EXPECT_EQ(done.asks(1, unit, 1), Ruling::fine);
  done.take(1040, 2);
  EXPECT_EQ(done.gets(cookies + (later_chunk - first_chunk) + 2 * unit), Ruling::fine);
  for (std::uint16_t slot = 0; slot != 2; ++slot) {
    EXPECT_EQ(done.frees(slot), Ruling::fine);
    EXPECT_EQ(done.returned(), Ruling::fine);
  }
  view.counts.work_pending = false;
  done.breaks(done.audit(view), "percpu.chunk");
}

}  // namespace
}  // namespace memtorture::oracle::test
