// Sites: the named places at which a run may be steered. One name is scheduling point, fault point and part of a
// report.
//
// The name is the identity everywhere outside this file (case files, findings, lists). Inside, a site is its index in
// the table below, so that counting visits is one array access; spelling a name that is not in the table does not
// compile. A layer that adds a site adds a row: what it is, and (for fault sites) the reason that a real system could
// give.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string_view>

namespace memtorture::machine {

enum class SiteUse : std::uint8_t { point, fault };  // fault sites are scheduling points too

struct SiteRow {
  std::string_view name;
  SiteUse use;
  std::string_view meaning;
};

inline constexpr SiteRow site_table[] = {
    {"bh.enable", SiteUse::point, "softirqs were just enabled again"},
    {"irq.enable", SiteUse::point, "interrupts were just enabled again"},
    {"irq.storm", SiteUse::fault, "this CPU admits an interrupt that is to come: its device does not wait"},
    {"k12.grow", SiteUse::point, "a size class without free blocks is about to get an area (no lock held)"},
    {"k12.lock", SiteUse::point, "the lock of the buckets is about to be taken"},
    {"k12.unlock", SiteUse::point, "the lock of the buckets was just released"},
    {"kstack.charge", SiteUse::fault, "a new stack is charged to its group: the group is at its limit"},
    {"kstack.push", SiteUse::point, "the stack pointer has moved, the frame is not yet written"},
    {"kswapd.balance", SiteUse::point, "kswapd looks at a zone"},
    {"kswapd.wake", SiteUse::point, "a request that missed its low marks wakes kswapd"},
    {"lock.acquire", SiteUse::point, "a program is about to take one of its own spinlocks"},
    {"lock.release", SiteUse::point, "a program just released one of its own spinlocks"},
    {"mempool.lock", SiteUse::point, "the lock of a memory pool is about to be taken"},
    {"mempool.unlock", SiteUse::point, "the lock of a memory pool was just released"},
    {"mutex.acquire", SiteUse::point, "a mutex is about to be taken"},
    {"mutex.release", SiteUse::point, "a mutex was just released"},
    {"oom.exit", SiteUse::fault, "the victim is killed: it holds something up and gives its memory back only later"},
    {"oom.kill", SiteUse::point, "the OOM killer is about to choose"},
    {"op", SiteUse::point, "an operation of a program is about to start"},
    {"page.alloc", SiteUse::fault, "alloc_pages is entered: no block can be had (domain.md 19.3, fail_page_alloc)"},
    {"page.expand", SiteUse::point, "a block has left its free list and is about to be split (zone lock held)"},
    {"page.free", SiteUse::point, "the last reference is gone, the block is about to be freed"},
    {"page.get", SiteUse::point, "a reference is about to be taken"},
    {"page.merge", SiteUse::point, "a freed block is about to be merged with its buddy (zone lock held)"},
    {"page.prep", SiteUse::point, "a block has left the free lists and is not yet prepared"},
    {"page.put", SiteUse::point, "a reference is about to be dropped"},
    {"page.watermark", SiteUse::point, "the watermark check passed, the zone lock is not yet taken"},
    {"pcp.alloc", SiteUse::point, "a page is about to leave a per-CPU list"},
    {"pcp.drain", SiteUse::point, "per-CPU pages are about to go back to the buddy lists"},
    {"pcp.free", SiteUse::point, "a page is about to go on a per-CPU list"},
    {"pcp.refill", SiteUse::point, "an empty per-CPU list is about to be refilled"},
    {"percpu.balance", SiteUse::point, "the worker of per-CPU memory looks at its chunks"},
    {"percpu.chunk", SiteUse::fault, "a chunk of per-CPU memory is to be made: no place for its units can be had"},
    {"percpu.lock", SiteUse::point, "the lock of the maps of per-CPU memory is about to be taken"},
    {"percpu.map", SiteUse::fault, "the map of a chunk is full: no longer one can be had"},
    {"percpu.populate", SiteUse::fault,
     "a page of a unit is to be backed by memory: none can be had (once for each CPU)"},
    {"percpu.rmw", SiteUse::point, "between the load and the store of an addition that is not one instruction"},
    {"percpu.unlock", SiteUse::point, "the lock of the maps of per-CPU memory was just released"},
    {"preempt.enable", SiteUse::point, "preemption was just enabled again"},
    {"reclaim.enter", SiteUse::point, "direct reclaim begins"},
    {"reclaim.page", SiteUse::point, "reclaim is about to free one page of a client"},
    {"reclaim.progress", SiteUse::fault, "reclaim finds every page busy: a round frees nothing"},
    {"reclaim.slow", SiteUse::fault, "pages are to be written, to swap or back: the device takes its time"},
    {"reclaim.swap", SiteUse::fault, "anonymous pages are to be written to swap: it has no free slot"},
    {"reclaim.writeback", SiteUse::fault, "dirty pages are to be written back: the device is congested"},
    {"sched.resched", SiteUse::point, "cond_resched or schedule by a task that stays runnable"},
    {"sched.sleep", SiteUse::point, "a task is about to sleep"},
    {"sched.wake", SiteUse::point, "a sleeper was just woken"},
    {"slab.alloc", SiteUse::fault, "an object is asked for: none can be had (domain.md 10.10, failslab)"},
    {"slab.flush", SiteUse::point, "a full array of objects is about to be emptied into the lists of its node"},
    {"slab.grow", SiteUse::point, "a cache without free objects is about to get pages (no lock held)"},
    {"slab.lock", SiteUse::point, "a lock of a slab cache is about to be taken"},
    {"slab.reap", SiteUse::point, "the reaper looks at a cache"},
    {"slab.refill", SiteUse::point, "a CPU's empty array of objects is about to be refilled"},
    {"slab.unlock", SiteUse::point, "a lock of a slab cache was just released"},
    {"wake.lost", SiteUse::fault, "a sleeper is to be woken: it comes to run only when nobody else can"},
    {"zone.lock", SiteUse::point, "a zone lock is about to be taken"},
    {"zone.unlock", SiteUse::point, "a zone lock was just released"},
};
inline constexpr unsigned site_count = std::size(site_table);
static_assert(std::ranges::is_sorted(site_table, {}, &SiteRow::name), "site_table is sorted: lookups are binary");
static_assert(site_count < 64, "visits are counted in a small array per context");

constexpr std::optional<std::uint8_t> find_site(std::string_view name) {
  const auto row = std::ranges::lower_bound(site_table, name, {}, &SiteRow::name);
  if (row == std::end(site_table) || row->name != name) return std::nullopt;
  return static_cast<std::uint8_t>(row - site_table);
}

class Site {
 public:
  consteval Site(const char* name)
      : index_(find_site(name).value()) {}  // NOLINT: implicit, so that "page.free" reads as a site
  static constexpr Site at(unsigned index) { return Site(index, 0); }  // index < site_count
  static constexpr std::optional<Site> named(std::string_view name) {
    const auto index = find_site(name);
    return index ? std::optional<Site>(Site(*index, 0)) : std::nullopt;
  }
  constexpr std::uint8_t index() const { return index_; }
  constexpr std::string_view name() const { return site_table[index_].name; }
  constexpr bool is_fault() const { return site_table[index_].use == SiteUse::fault; }
  friend constexpr bool operator==(Site, Site) = default;
  friend constexpr auto operator<=>(Site, Site) = default;

 private:
  constexpr Site(unsigned index, int) : index_(static_cast<std::uint8_t>(index)) {}
  std::uint8_t index_;
};

}  // namespace memtorture::machine
