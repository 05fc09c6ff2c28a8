// The machine's nouns, small enough that every layer above can share them without sharing any logic.
//
// Frames are numbered, never pointed at: a page frame number (Pfn) is the same in every run and in every process, which
// is what makes histories comparable byte by byte. Host addresses appear only inside Ram.
#pragma once

#include <cstdint>
#include <string_view>

namespace memtorture::machine {

using Pfn = std::uint32_t;              // page frame number: physical address >> page_shift
inline constexpr Pfn no_pfn = ~Pfn{0};  // "no frame": the null result of every page function

using Jiffies = std::uint64_t;  // virtual time, shape.hz of them a second

inline constexpr unsigned cpus_max = 64;
inline constexpr unsigned nodes_max = 4;
inline constexpr unsigned orders_max = 11;  // orders 0..10 (domain.md 0.3: MAX_ORDER is exclusive)

// Zones in fallback order from the bottom; the value is the zone index of domain.md 3.4 and 5.4.
enum class ZoneKind : std::uint8_t { dma, dma32, normal, highmem };
inline constexpr unsigned zone_kinds = 4;
inline constexpr std::string_view zone_names[zone_kinds] = {"DMA", "DMA32", "Normal", "HighMem"};

constexpr unsigned index_of(ZoneKind kind) { return static_cast<unsigned>(kind); }

// Identity of whatever executes: programs of a case are numbered from 0 in file order; the machine's own daemons sit
// at the top of the range so that adding a task to a case renames none of them.
using ContextId = std::uint16_t;
inline constexpr ContextId no_context = 0xffff;
inline constexpr ContextId kswapd_first = 0xff00;                   // kswapd of node n is kswapd_first + n
inline constexpr ContextId percpu_work = kswapd_first + nodes_max;  // the work item of per-CPU memory
inline constexpr ContextId events_first = percpu_work + 1;          // the worker of CPU n (K26: events/n)
inline constexpr unsigned daemons_max = nodes_max + 1 + cpus_max;
constexpr bool is_daemon(ContextId id) { return id >= kswapd_first && id != no_context; }
constexpr bool is_kswapd(ContextId id) { return id >= kswapd_first && id < percpu_work; }
constexpr bool is_worker(ContextId id) { return id >= events_first && id != no_context; }
constexpr unsigned daemon_index(ContextId id) { return id - kswapd_first; }  // below daemons_max

enum class ContextKind : std::uint8_t { task, softirq, hardirq, nmi };
inline constexpr std::string_view context_kind_names[] = {"task", "softirq", "irq", "nmi"};

}  // namespace memtorture::machine
