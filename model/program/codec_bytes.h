// How each field type is coded in bytes. Reading is total: what is missing reads as 0 and every byte means something.
//
// The usual values are one byte, taken modulo something small, so that random bytes give programs whose operations meet
// (few slots, low orders, flags that occur); an escape reaches every other value. The writer takes the first form that
// fits, so equal fields have equal bytes.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <span>
#include <vector>

#include "model/program/op_table.h"

namespace memtorture::program {

// Combinations of GFP flags that occur, in the order of their codes; generators draw from it, too.
inline constexpr auto gfp_usual = [] {
  using namespace subject;
  return std::array<gfp_t, 40>{GFP_KERNEL,
                               GFP_ATOMIC,
                               GFP_NOWAIT,
                               GFP_HIGHUSER,
                               GFP_HIGHUSER_MOVABLE,
                               GFP_USER,
                               GFP_NOFS,
                               GFP_NOIO,
                               GFP_TEMPORARY,
                               GFP_THISNODE,
                               GFP_KERNEL | gfp_noretry,
                               GFP_KERNEL | gfp_noretry | gfp_nowarn,
                               GFP_KERNEL | gfp_repeat,
                               GFP_KERNEL | gfp_nofail,
                               GFP_KERNEL | gfp_zero,
                               GFP_ATOMIC | gfp_zero,
                               GFP_KERNEL | gfp_comp,
                               GFP_ATOMIC | gfp_comp,
                               GFP_KERNEL | gfp_dma,
                               GFP_ATOMIC | gfp_dma,
                               GFP_KERNEL | gfp_dma32,
                               GFP_ATOMIC | gfp_dma32,
                               GFP_ATOMIC | gfp_nowarn,
                               GFP_NOWAIT | gfp_nowarn,
                               GFP_ATOMIC | gfp_nomemalloc,
                               GFP_KERNEL | gfp_nomemalloc,
                               GFP_ATOMIC | gfp_highmem,
                               GFP_HIGHUSER | gfp_noretry,
                               GFP_HIGHUSER | gfp_zero,
                               GFP_HIGHUSER | gfp_comp,
                               GFP_ATOMIC | gfp_cold,
                               GFP_KERNEL | gfp_cold,
                               GFP_KERNEL | gfp_thisnode,
                               GFP_ATOMIC | gfp_thisnode,
                               GFP_KERNEL | gfp_high,
                               GFP_NOFS | gfp_noretry,
                               GFP_NOIO | gfp_noretry,
                               gfp_dma | gfp_dma32,
                               gfp_dma | gfp_highmem,
                               GFP_ATOMIC | gfp_nofail};
}();
inline constexpr auto slab_flags_usual = [] {
  using namespace subject;
  return std::array<slab_flags_t, 20>{0,
                                      SLAB_HWCACHE_ALIGN,
                                      SLAB_PANIC,
                                      SLAB_HWCACHE_ALIGN | SLAB_PANIC,
                                      SLAB_RECLAIM_ACCOUNT,
                                      SLAB_RECLAIM_ACCOUNT | SLAB_HWCACHE_ALIGN,
                                      SLAB_CACHE_DMA,
                                      SLAB_CACHE_DMA | SLAB_HWCACHE_ALIGN,
                                      SLAB_POISON,
                                      SLAB_RED_ZONE,
                                      SLAB_RED_ZONE | SLAB_POISON,
                                      SLAB_DEBUG_FREE,
                                      SLAB_DEBUG_FREE | SLAB_RED_ZONE | SLAB_POISON | SLAB_STORE_USER,
                                      SLAB_STORE_USER,
                                      SLAB_HWCACHE_ALIGN | SLAB_POISON,
                                      SLAB_DESTROY_BY_RCU,
                                      SLAB_NOLEAKTRACE,
                                      SLAB_MEM_SPREAD,
                                      SLAB_NOTRACK | SLAB_TRACE,
                                      1};  // no such flag
}();
inline constexpr std::array<std::uint8_t, 16> order_usual = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0, 0, 1, 2};

inline constexpr std::uint8_t slots_usual = 32;

class ByteReader {
 public:
  explicit ByteReader(std::span<const std::uint8_t> bytes) : rest_(bytes) {}
  bool at_end() const { return rest_.empty(); }

  std::uint8_t byte() {
    if (rest_.empty()) return 0;
    const std::uint8_t first = rest_.front();
    rest_ = rest_.subspan(1);
    return first;
  }

  std::uint64_t number() {  // LEB128; bits beyond 64 are dropped
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
      const std::uint8_t part = byte();
      if (shift < 64) value |= std::uint64_t{part & 0x7fU} << shift;
      if ((part & 0x80) == 0) break;
    }
    return value;
  }

  void field(Out& out) { out.slot = slot(byte()); }
  void field(In& in) {
    const std::uint8_t code = byte();
    in.slot = slot(code);
    in.offset = code >= 0xc0 ? static_cast<std::uint16_t>(number()) : 0;
  }
  void field(Gfp& gfp) {
    const std::uint8_t code = byte();
    gfp.bits =
        code < 0xe0 ? gfp_usual[code % gfp_usual.size()] : static_cast<subject::gfp_t>(number()) & subject::gfp_known;
  }
  void field(Of& of) { of.slot = slot(byte()); }
  void field(Align& align) {  // 0, 1, 2, 4 ... 2^21
    const std::uint8_t code = byte();
    align.value = code < 0xc0 ? (code % 23 == 0 ? 0 : std::uint64_t{1} << (code % 23 - 1)) : number();
  }
  void field(SlabFlags& flags) {
    const std::uint8_t code = byte();
    flags.bits =
        code < 0xe0 ? slab_flags_usual[code % slab_flags_usual.size()] : static_cast<subject::slab_flags_t>(number());
  }
  void field(Order& order) {
    const std::uint8_t code = byte();
    order.value = code < 0xf0 ? order_usual[code % order_usual.size()] : byte();
  }
  void field(Node& node) { node.value = static_cast<std::int8_t>(byte() % (machine::nodes_max + 1) - 1); }
  void field(Bytes& bytes) {
    // Below 0x80: pages of 4 KiB; below 0xe0: powers of two from 8 on, and half of the next; less or more one byte.
    const std::uint8_t code = byte();
    if (code < 0x80) {
      bytes.value = (std::uint64_t{code} / 3 + 1) * 4096 + code % 3 - 1;
    } else if (code < 0xe0) {
      const unsigned step = (code - 0x80U) / 3;
      bytes.value = (std::uint64_t{8 + step % 2 * 4} << step / 2) + code % 3 - 1;
    } else {
      bytes.value = number();
    }
  }
  void field(Offset& offset) {
    const std::uint64_t zigzag = number();
    offset.value = static_cast<std::int64_t>((zigzag >> 1) ^ (0 - (zigzag & 1)));
  }
  void field(Byte& value) { value.value = byte(); }
  void field(Nodes& nodes) { nodes.bits = byte(); }
  void field(Count& count) { count.value = static_cast<std::uint32_t>(number()); }
  void field(CpuNumber& cpu) { cpu.value = static_cast<std::uint32_t>(number()); }
  void field(Frame& frame) { frame.value = static_cast<machine::Pfn>(number()); }
  void field(Lock& lock) { lock.value = static_cast<std::uint8_t>(byte() % locks_max); }
  void field(Client& client) { client.value = static_cast<subject::ClientKind>(byte() % subject::client_kinds); }
  void field(Trait& trait) { trait.value = static_cast<subject::ProcessTrait>(byte() % subject::process_traits); }
  void field(Flaw& flaw) { flaw.value = static_cast<subject::Blemish>(byte() % std::size(subject::blemish_names)); }

 private:
  // 0xf0..0xff: twelve bits, the rest in the next byte.
  Slot slot(std::uint8_t code) {
    if (code < 0xf0) return code % slots_usual;
    return static_cast<Slot>((code & 0x0fU) << 8 | byte());
  }
  std::span<const std::uint8_t> rest_;
};

class ByteWriter {
 public:
  std::vector<std::uint8_t> take() { return std::move(bytes_); }
  void byte(std::uint8_t value) { bytes_.push_back(value); }
  void bytes(std::span<const std::uint8_t> values) { bytes_.insert(bytes_.end(), values.begin(), values.end()); }

  void number(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) byte(static_cast<std::uint8_t>(value | 0x80));
    byte(static_cast<std::uint8_t>(value));
  }

  void field(Out out) { slot(out.slot, 0); }
  void field(In in) {
    slot(in.slot, in.offset == 0 ? 0 : 0xc0);
    if (in.offset != 0 || in.slot >= slots_usual) number(in.offset);
  }
  void field(Gfp gfp) {
    if (usual(gfp_usual, gfp.bits)) return;
    byte(0xe0);
    number(gfp.bits);
  }
  void field(Of of) { slot(of.slot, 0); }
  void field(Align align) {
    if (align.value == 0) return byte(0);
    if (std::has_single_bit(align.value) && std::countr_zero(align.value) < 22)
      return byte(static_cast<std::uint8_t>(std::countr_zero(align.value) + 1));
    byte(0xc0);
    number(align.value);
  }
  void field(SlabFlags flags) {
    if (usual(slab_flags_usual, flags.bits)) return;
    byte(0xe0);
    number(flags.bits);
  }
  void field(Order order) {
    if (usual(order_usual, order.value)) return;
    byte(0xf0);
    byte(order.value);
  }
  void field(Node node) { byte(static_cast<std::uint8_t>(node.value + 1)); }
  void field(Bytes bytes) {
    for (std::uint8_t code = 0; code != 0xe0; ++code) {  // not a hot path
      Bytes known;
      ByteReader(std::span(&code, 1)).field(known);
      if (known == bytes) return byte(code);
    }
    byte(0xe0);
    number(bytes.value);
  }
  void field(Offset offset) {
    const auto bits = static_cast<std::uint64_t>(offset.value);
    number(bits << 1 ^ (0 - (bits >> 63)));
  }
  void field(Byte value) { byte(value.value); }
  void field(Nodes nodes) { byte(nodes.bits); }
  void field(Count count) { number(count.value); }
  void field(CpuNumber cpu) { number(cpu.value); }
  void field(Frame frame) { number(frame.value); }
  void field(Lock lock) { byte(lock.value); }
  void field(Client client) { byte(static_cast<std::uint8_t>(client.value)); }
  void field(Trait trait) { byte(static_cast<std::uint8_t>(trait.value)); }
  void field(Flaw flaw) { byte(static_cast<std::uint8_t>(flaw.value)); }

 private:
  template <class Table, class T>
  bool usual(const Table& table, T value) {
    const auto found = std::find(table.begin(), table.end(), value);
    if (found != table.end()) byte(static_cast<std::uint8_t>(found - table.begin()));
    return found != table.end();
  }
  void slot(Slot slot, std::uint8_t form) {
    if (slot < slots_usual) return byte(static_cast<std::uint8_t>(form + slot));
    byte(static_cast<std::uint8_t>(0xf0 | slot >> 8));
    byte(static_cast<std::uint8_t>(slot));
  }
  std::vector<std::uint8_t> bytes_;
};

}  // namespace memtorture::program
