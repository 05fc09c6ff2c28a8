// For tests: a case of one or more programs, published zones that are right, and events fed by hand.
//
// The machine is 16 MiB with DMA (frames 0..1023) and Normal (1024..4095): marks 32/40/48 and 96/120/144, reserve 12,
// per-CPU lists that pass everything through (domain.md 22.1). Each step states the ruling that it must get.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "model/oracle/geometry.h"
#include "model/oracle/oracle.h"

namespace memtorture::oracle::test {

using machine::BadPageReason;
using machine::no_pfn;
using machine::ReportKind;
using program::In;
using program::Op;
using program::Out;

inline Op free_of(std::uint16_t slot, std::uint8_t order = 0, std::uint16_t offset = 0) {
  return program::FreePagesOf{In{slot, offset}, {order}};
}

inline machine::Shape toy() {
  machine::Shape shape;
  shape.ram_bytes = std::uint64_t{16} << 20;
  shape.zone_end_bytes = {std::uint64_t{4} << 20, std::uint64_t{4} << 20, machine::zone_end_none};
  return shape;
}

inline std::vector<subject::ZoneInfo> publish(const machine::Shape& shape) {
  Geometry geometry;
  geometry.build(shape, {});
  std::vector<subject::ZoneInfo> zones;
  for (const Zone& zone : geometry.zones()) {
    subject::ZoneInfo info{};
    info.node = zone.node;
    info.kind = static_cast<machine::ZoneKind>(zone.kind);
    info.start = zone.start;
    info.spanned = zone.end - zone.start;
    info.present = zone.present;
    info.managed = zone.managed;
    info.mark_min = zone.mark_min;
    info.mark_low = zone.mark_low;
    info.mark_high = zone.mark_high;
    std::copy(zone.reserve.begin(), zone.reserve.end(), info.lowmem_reserve);
    info.pcp_high = zone.pcp_high;
    info.pcp_batch = zone.pcp_batch;
    zones.push_back(info);
  }
  return zones;
}

class Driver {
 public:
  explicit Driver(machine::Shape shape = toy(), std::size_t programs = 1) : zones(publish(shape)) {
    the_case.shape = shape;
    the_case.slot_names.resize(64, "s");
    the_case.programs.resize(programs);
    for (auto& program : the_case.programs) program.ops.reserve(20'000);
    EXPECT_EQ(oracle.begin(the_case, zones, promises), Ruling::fine);
  }

  Event event(EventKind kind) const {
    Event e;
    e.kind = kind;
    e.who = who;
    e.cpu = cpu;
    e.irqs = irqs;
    e.preempt_count = preempt_count;
    e.op = the_case.programs[who].ops.empty() ? 0 : static_cast<std::uint32_t>(the_case.programs[who].ops.size() - 1);
    return e;
  }
  Ruling call(const Op& op) {
    the_case.programs[who].ops.push_back(op);
    Event e = event(EventKind::call);
    e.value2 = task_flags;
    return oracle.on(e);
  }
  // The program enters or leaves scopes.
  void set_task_flags(std::uint32_t flags) {
    (void)call(program::NoreclaimSave{});
    (void)returned();
    task_flags = flags;
  }
  Ruling granted(machine::Pfn pfn, std::uint64_t dirty = ~std::uint64_t{0}) {
    if (hungry) (void)told(EventKind::kswapd_woken, 0);
    Event e = event(EventKind::result);
    e.pfn = pfn;
    e.value = machine::Ram::linear_base + (std::uint64_t{pfn} << the_case.shape.page_shift);
    e.value2 = dirty;
    return oracle.on(e);
  }
  Ruling refused() {
    if (hungry) (void)told(EventKind::kswapd_woken, 0);
    return granted_none();
  }
  Ruling returned(std::uint64_t value = 0) {
    Event e = event(EventKind::result);
    e.value = value;
    return oracle.on(e);
  }
  Ruling report(ReportKind kind, machine::Pfn pfn = no_pfn, BadPageReason why = BadPageReason::refcount) {
    Event e = event(EventKind::reported);
    if (kind == ReportKind::bad_page) e.value = static_cast<std::uint64_t>(why);
    e.detail = static_cast<std::uint8_t>(kind);
    e.pfn = pfn;
    const Ruling ruling = oracle.on(e);
    return kind == ReportKind::allocation_failure && ruling == Ruling::fine && shows_zones ? show_zones() : ruling;
  }
  Ruling show_zone(unsigned zone, std::uint64_t free) {
    Event e = event(EventKind::zone_shown);
    e.detail = static_cast<std::uint8_t>(zone);
    e.value = free;
    e.pfn = static_cast<machine::Pfn>(zones[zone].mark_min);
    e.gfp = static_cast<std::uint32_t>(zones[zone].mark_low);
    e.value2 = zones[zone].mark_high;
    return oracle.on(e);
  }
  Ruling show_zones() {
    Ruling ruling = Ruling::fine;
    for (unsigned zone = 0; zone != zones.size() && ruling == Ruling::fine; ++zone)
      ruling = show_zone(zone, oracle.free_pages(zone));
    return ruling;
  }
  Ruling placed(EventKind kind, machine::Pfn pfn, std::uint8_t list_cpu = 0) {
    Event e = event(kind);
    e.pfn = pfn;
    e.cpu = list_cpu;
    return oracle.on(e);
  }
  Ruling told(EventKind kind, std::uint64_t value = 0, std::uint8_t detail = 0, machine::Pfn pfn = no_pfn,
              std::uint32_t gfp = 0) {
    if (kind == EventKind::kswapd_woken) hungry = true;
    Event e = event(kind);
    e.value = value;
    e.detail = detail;
    e.pfn = pfn;
    e.gfp = gfp;
    return oracle.on(e);
  }
  // A legal allocation of one block; a legal free.
  void alloc(std::uint16_t slot, machine::Pfn pfn, std::uint32_t gfp = subject::GFP_KERNEL, unsigned order = 0) {
    EXPECT_EQ(call(program::AllocPages{Out{slot}, {gfp}, {static_cast<std::uint8_t>(order)}}), Ruling::fine);
    EXPECT_EQ(granted(pfn), Ruling::fine) << oracle.finding().rule << ": " << oracle.finding().detail;
  }
  void free(std::uint16_t slot, unsigned order = 0) {
    EXPECT_EQ(call(program::FreePagesOf{In{slot}, {static_cast<std::uint8_t>(order)}}), Ruling::fine);
    EXPECT_EQ(returned(), Ruling::fine) << oracle.finding().rule << ": " << oracle.finding().detail;
  }
  // Takes pages of a zone from the bottom as the buddy system would: smallest block first, here simply ascending.
  void fill(machine::Pfn from, unsigned pages, std::uint32_t gfp) {
    for (unsigned i = 0; i != pages; ++i) alloc(63, from + i, gfp);
  }
  // Every page that is left, Normal from `from` on, in the order in which the marks allow it. The slot is the frame.
  void take_everything(machine::Pfn from = 1024) {
    constexpr std::uint32_t gfp = subject::GFP_KERNEL | subject::gfp_noretry;
    const auto take = [&](machine::Pfn first, machine::Pfn end) {
      for (machine::Pfn frame = first; frame != end; ++frame) alloc(static_cast<std::uint16_t>(frame), frame, gfp);
    };
    take(from, 3976);
    take(0, 972);
    hungry = true;
    take(3976, 4000);
    take(972, 980);
    set_task_flags(machine::pf_memalloc);
    take(4000, 4096);
    take(980, 1024);
    set_task_flags(0);
  }
  void breaks(Ruling ruling, std::string_view id) {
    EXPECT_EQ(ruling, Ruling::broken) << id;
    EXPECT_EQ(rule(), id) << why();
  }
  void is_crime(Ruling ruling, std::string_view id) {
    EXPECT_EQ(ruling, Ruling::crime) << id << " " << why();
    EXPECT_EQ(crime(), id);
  }
  void is_fatal(Ruling ruling, std::string_view id) {
    EXPECT_EQ(ruling, Ruling::fatal) << id << " " << why();
    EXPECT_EQ(crime(), id);
  }
  std::string why() const { return oracle.finding().detail; }
  std::string_view rule() const { return oracle.finding().rule; }
  std::string_view crime() const { return oracle.crime().rule; }

  program::Case the_case;
  subject::Promises promises;
  std::vector<subject::ZoneInfo> zones;
  Oracle oracle;
  machine::ContextId who = 0;
  std::uint8_t cpu = 0;
  machine::IrqFlag irqs = machine::IrqFlag::on;
  std::uint32_t preempt_count = 0, task_flags = 0;
  bool shows_zones = true;  // with every failure report
  bool hungry = false;      // kswapd was woken once: every later request wakes it too

 private:
  Ruling granted_none() {
    Event e = event(EventKind::result);
    e.value2 = ~std::uint64_t{0};
    return oracle.on(e);
  }
};

inline constexpr std::uint32_t kernel_noretry = subject::GFP_KERNEL | subject::gfp_noretry;

}  // namespace memtorture::oracle::test
