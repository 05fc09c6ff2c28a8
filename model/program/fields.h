// The types of an operation's parameters. Each is one word of the case language: how it is written, parsed, coded in
// bytes and mutated is decided once per type (text_fields.cpp, codec.cpp, edits.cpp), never per operation.
#pragma once

#include <cstdint>

#include "allocator/subject/objects.h"
#include "allocator/subject/pages.h"

namespace memtorture::program {

using Slot = std::uint16_t;  // index into Case::slot_names; a slot holds the handle of one block, object or cache
inline constexpr Slot slots_max = 4096;

struct Out {
  Slot slot = 0;
  friend bool operator==(Out, Out) = default;
};  // "p = ..."; assigning again is legal
struct In {  // "p" or "p+3": frames into a block, bytes into an object
  Slot slot = 0;
  std::uint16_t offset = 0;
  friend bool operator==(In, In) = default;
};
struct Gfp {
  subject::gfp_t bits = subject::GFP_KERNEL;
  friend bool operator==(Gfp, Gfp) = default;
};
struct Order {
  std::uint8_t value = 0;
  friend bool operator==(Order, Order) = default;
};  // any byte; >= MAX_ORDER is refused
struct Node {
  std::int8_t value = -1;
  friend bool operator==(Node, Node) = default;
};  // -1: local; or 0..nodes_max-1
struct Nodes {
  std::uint8_t bits = 1;
  friend bool operator==(Nodes, Nodes) = default;
};  // bit n = node n, 0x03; there need be none of them
struct Bytes {
  std::uint64_t value = 0;
  friend bool operator==(Bytes, Bytes) = default;
};  // a size; 4096, 64K, 1M
struct Offset {
  std::int64_t value = 0;
  friend bool operator==(Offset, Offset) = default;
};  // bytes from the block's start; what a trait is set to
struct Byte {
  std::uint8_t value = 0;
  friend bool operator==(Byte, Byte) = default;
};  // 0x5a
struct Count {
  std::uint32_t value = 1;
  friend bool operator==(Count, Count) = default;
};  // how many
struct CpuNumber {
  std::uint32_t value = 1;
  friend bool operator==(CpuNumber, CpuNumber) = default;
};  // there need be no such CPU
struct Frame {
  machine::Pfn value = 0;
  friend bool operator==(Frame, Frame) = default;
};  // a raw frame number
struct Lock {
  std::uint8_t value = 0;
  friend bool operator==(Lock, Lock) = default;
};  // 0..locks_max-1, "l0"
struct Client {
  subject::ClientKind value{};
  friend bool operator==(Client, Client) = default;
};
struct Trait {
  subject::ProcessTrait value{};
  friend bool operator==(Trait, Trait) = default;
};
struct Flaw {
  subject::Blemish value{};
  friend bool operator==(Flaw, Flaw) = default;
};
struct Of {
  Slot slot = 0;
  friend bool operator==(Of, Of) = default;
};  // "c": a second slot, that of the cache or object which the operation is with
struct Align {
  std::uint64_t value = 0;
  friend bool operator==(Align, Align) = default;
};  // bytes; a power of two, or 0: what is usual
struct SlabFlags {
  subject::slab_flags_t bits = 0;
  friend bool operator==(SlabFlags, SlabFlags) = default;
};
inline constexpr unsigned nesting_max = 32;  // what a program can have open at once: masks, locks, scopes
inline constexpr std::uint64_t frame_bytes_most = 64 << 10;  // of one function, or one array on the stack
inline constexpr std::uint32_t recursion_most = 256;
inline constexpr unsigned locks_max = 4;  // spinlocks, mutexes and wait queues that programs can name, of each

}  // namespace memtorture::program
