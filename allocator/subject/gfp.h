// gfp_t: the words in which a caller says how, where and what kind (domain.md 7). K26 bit values; modern names are
// aliases of them. Pure vocabulary, shared by the implementation, the specification and the case language.
#pragma once

#include <cstdint>
#include <string_view>

namespace memtorture::subject {

using gfp_t = std::uint32_t;

inline constexpr gfp_t gfp_dma = 0x01, gfp_highmem = 0x02, gfp_dma32 = 0x04, gfp_movable = 0x08;  // __GFP_DMA ...
inline constexpr gfp_t gfp_zone_mask = 0x0f;
inline constexpr gfp_t gfp_wait = 0x10, gfp_high = 0x20, gfp_io = 0x40, gfp_fs = 0x80, gfp_cold = 0x100,
                       gfp_nowarn = 0x200, gfp_repeat = 0x400, gfp_nofail = 0x800, gfp_noretry = 0x1000,
                       gfp_comp = 0x4000, gfp_zero = 0x8000, gfp_nomemalloc = 0x10000, gfp_hardwall = 0x20000,
                       gfp_thisnode = 0x40000, gfp_reclaimable = 0x80000, gfp_notrack = 0x200000;

inline constexpr gfp_t GFP_NOWAIT = 0;
inline constexpr gfp_t GFP_ATOMIC = gfp_high;
inline constexpr gfp_t GFP_NOIO = gfp_wait;
inline constexpr gfp_t GFP_NOFS = gfp_wait | gfp_io;
inline constexpr gfp_t GFP_KERNEL = gfp_wait | gfp_io | gfp_fs;
inline constexpr gfp_t GFP_TEMPORARY = GFP_KERNEL | gfp_reclaimable;
inline constexpr gfp_t GFP_USER = GFP_KERNEL | gfp_hardwall;
inline constexpr gfp_t GFP_HIGHUSER = GFP_USER | gfp_highmem;
inline constexpr gfp_t GFP_HIGHUSER_MOVABLE = GFP_HIGHUSER | gfp_movable;
inline constexpr gfp_t GFP_IOFS = gfp_io | gfp_fs;
inline constexpr gfp_t GFP_THISNODE = gfp_thisnode | gfp_nowarn | gfp_noretry;
inline constexpr gfp_t GFP_DMA = gfp_dma;
inline constexpr gfp_t GFP_DMA32 = gfp_dma32;

enum class GfpGroup : std::uint8_t { type, zone, action, alias };

struct GfpRow {
  std::string_view name;
  gfp_t bits;
  GfpGroup group;
  std::string_view meaning;
};

// Printing uses the first row whose bits are all there: composites stand before their parts, aliases are read only.
inline constexpr GfpRow gfp_table[] = {
    {"GFP_HIGHUSER_MOVABLE", GFP_HIGHUSER_MOVABLE, GfpGroup::type, "user page that may be anywhere and may move"},
    {"GFP_HIGHUSER", GFP_HIGHUSER, GfpGroup::type, "user page, high memory preferred"},
    {"GFP_USER", GFP_USER, GfpGroup::type, "on behalf of user space; may sleep"},
    {"GFP_TEMPORARY", GFP_TEMPORARY, GfpGroup::type, "short-lived kernel memory; may sleep"},
    {"GFP_KERNEL", GFP_KERNEL, GfpGroup::type, "the default: process context, may sleep, may start I/O"},
    {"GFP_THISNODE", GFP_THISNODE, GfpGroup::type, "this node only, no reclaim, no warning"},
    {"GFP_NOFS", GFP_NOFS, GfpGroup::type, "may sleep and start disk I/O, no filesystem calls"},
    {"GFP_NOIO", GFP_NOIO, GfpGroup::type, "may sleep, starts no I/O"},
    {"GFP_ATOMIC", GFP_ATOMIC, GfpGroup::type, "never sleeps, may use part of the reserve"},
    {"GFP_NOWAIT", GFP_NOWAIT, GfpGroup::type, "never sleeps, no reserve"},
    {"__GFP_DMA", gfp_dma, GfpGroup::zone, "only DMA-capable memory"},
    {"__GFP_HIGHMEM", gfp_highmem, GfpGroup::zone, "high memory preferred"},
    {"__GFP_DMA32", gfp_dma32, GfpGroup::zone, "only memory below 4 GiB"},
    {"__GFP_MOVABLE", gfp_movable, GfpGroup::zone, "the page may be moved"},
    {"__GFP_WAIT", gfp_wait, GfpGroup::action, "may sleep and reclaim"},
    {"__GFP_HIGH", gfp_high, GfpGroup::action, "may use emergency pools"},
    {"__GFP_IO", gfp_io, GfpGroup::action, "reclaim may start disk I/O"},
    {"__GFP_FS", gfp_fs, GfpGroup::action, "reclaim may call filesystems"},
    {"__GFP_COLD", gfp_cold, GfpGroup::action, "cache-cold pages will do (hint)"},
    {"__GFP_NOWARN", gfp_nowarn, GfpGroup::action, "no failure report"},
    {"__GFP_REPEAT", gfp_repeat, GfpGroup::action, "retry large requests harder, may still fail"},
    {"__GFP_NOFAIL", gfp_nofail, GfpGroup::action, "must not fail"},
    {"__GFP_NORETRY", gfp_noretry, GfpGroup::action, "one round of reclaim, then fail"},
    {"__GFP_COMP", gfp_comp, GfpGroup::action, "compound page"},
    {"__GFP_ZERO", gfp_zero, GfpGroup::action, "zeroed"},
    {"__GFP_NOMEMALLOC", gfp_nomemalloc, GfpGroup::action, "PF_MEMALLOC privilege not used"},
    {"__GFP_HARDWALL", gfp_hardwall, GfpGroup::action, "hard cpuset walls"},
    {"__GFP_THISNODE", gfp_thisnode, GfpGroup::action, "no node fallback"},
    {"__GFP_RECLAIMABLE", gfp_reclaimable, GfpGroup::action, "reclaimable kernel memory"},
    {"__GFP_NOTRACK", gfp_notrack, GfpGroup::action, "not tracked by kmemcheck"},
    // Read, never printed. The modern split of WAIT (domain.md D9) maps back onto it.
    {"GFP_DMA", gfp_dma, GfpGroup::alias, "= __GFP_DMA"},
    {"GFP_DMA32", gfp_dma32, GfpGroup::alias, "= __GFP_DMA32"},
    {"GFP_IOFS", GFP_IOFS, GfpGroup::alias, "= __GFP_IO|__GFP_FS"},
    {"__GFP_RECLAIM", gfp_wait, GfpGroup::alias, "modern name (direct and kswapd reclaim)"},
    {"__GFP_DIRECT_RECLAIM", gfp_wait, GfpGroup::alias, "modern name of __GFP_WAIT"},
    {"__GFP_RETRY_MAYFAIL", gfp_repeat, GfpGroup::alias, "modern name of __GFP_REPEAT (K26 meaning)"},
    {"SLAB_KERNEL", GFP_KERNEL, GfpGroup::alias, "2.2-2.6 alias"},
    {"SLAB_ATOMIC", GFP_ATOMIC, GfpGroup::alias, "2.2-2.6 alias"},
    {"SLAB_NOFS", GFP_NOFS, GfpGroup::alias, "2.2-2.6 alias"},
    {"SLAB_NOIO", GFP_NOIO, GfpGroup::alias, "2.2-2.6 alias"},
    {"SLAB_USER", GFP_USER, GfpGroup::alias, "2.2-2.6 alias"},
    {"SLAB_DMA", gfp_dma, GfpGroup::alias, "2.2-2.6 alias"},
};

constexpr gfp_t all_gfp_bits() {
  gfp_t bits = 0;
  for (const auto& row : gfp_table) bits |= row.bits;
  return bits;
}
inline constexpr gfp_t gfp_known = all_gfp_bits();

// domain.md 7.3 (P-GFP-1): the composition of the named types.
static_assert(GFP_KERNEL == 0xd0 && GFP_ATOMIC == 0x20 && GFP_NOFS == 0x50 && GFP_NOIO == 0x10);
static_assert(GFP_USER == 0x200d0 && GFP_HIGHUSER == 0x200d2 && GFP_HIGHUSER_MOVABLE == 0x200da);
static_assert(GFP_THISNODE == 0x41200 && GFP_TEMPORARY == 0x800d0);

}  // namespace memtorture::subject
