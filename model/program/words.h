// Words of the case language that several files need: names, sizes, and the nearest known word to a misspelt one.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "allocator/machine/context.h"
#include "allocator/machine/shape.h"
#include "allocator/machine/types.h"

namespace memtorture::program {

inline constexpr std::size_t name_length_max = 64;
// [a-z][a-z0-9_]*, at most name_length_max bytes: slots and programs.
bool is_name(std::string_view word);

// Daemons are named like programs but never declared: kswapd0 .. kswapd3, pcpu_balance0, events0 ..
// events63.
inline constexpr std::string_view daemon_names_text =
    "kswapd0..kswapd3, pcpu_balance0 and events0..events63 are the machine's own";
// How many of them, by index, a machine can have.
inline unsigned daemons_known(const machine::Shape& shape) {
  return machine::nodes_max + 1 + (shape.reap == machine::Toggle::on ? shape.cpus : 0);
}
std::string daemon_name(machine::ContextId daemon);
std::optional<machine::ContextId> find_daemon(std::string_view name);

// 65536 -> "64K", 1000 -> "1000"; the largest suffix of K, M, G, T (powers of 1024) that loses nothing.
std::string print_size(std::uint64_t bytes);

// Words for the TaskFlag bits that a program may start with.
struct FlagWord {
  std::string_view word;
  std::uint32_t bit;
};
inline constexpr FlagWord flag_words[] = {{"rt", machine::pf_realtime},
                                          {"memalloc", machine::pf_memalloc},
                                          {"noio", machine::pf_noio},
                                          {"nofs", machine::pf_nofs},
                                          {"memdie", machine::tif_memdie}};
constexpr std::uint32_t all_flag_bits() {
  std::uint32_t bits = 0;
  for (const FlagWord& flag : flag_words) bits |= flag.bit;
  return bits;
}
inline constexpr std::uint32_t task_flags_known = all_flag_bits();

// Insertions, deletions, replacements and swaps of neighbours that turn one word into the other; words over 32 bytes
// are far from all.
unsigned edit_distance(std::string_view a, std::string_view b);
// The closest candidate, if close enough to be what was meant.
std::optional<std::string_view> nearest_word(std::string_view word, std::span<const std::string_view> candidates);
// "did you mean 'x'?", or nothing.
std::string did_you_mean(std::string_view word, std::span<const std::string_view> candidates);

}  // namespace memtorture::program
