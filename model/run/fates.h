// What becomes of a request for one page: type of request x free memory x what could be reclaimed x context, as a truth
// table of its own. The specification judges events; this says in advance how a run ends, from the reference's
// algorithm (domain.md 5.6, 9.1, 9.4, 9.5) read a third time. Each cell is a case, and a test holds the three against
// each other.
//
// The machine has 256 pages, marks 32 / 40 / 48, and nobody but one task that fills memory and one who asks.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "model/run/outcome.h"

namespace memtorture::run {

enum class Fate : std::uint8_t {
  served,     // at once
  reclaimed,  // after somebody freed pages for it: itself or kswapd
  killed,     // after the OOM killer had a victim
  refused,
  waits,   // for ever: nothing can be freed, and it may not be refused
  panics,  // the same, and it has to be the end
  misuse,  // the caller may not sleep, the request may: reported
};
inline constexpr std::string_view fate_letters = "SRKFWPC";
constexpr char letter(Fate fate) { return fate_letters[static_cast<unsigned>(fate)]; }

enum class Asker : std::uint8_t { process, memalloc, atomic, hardirq };
enum class Spare : std::uint8_t { nothing, clean, dirty, anon, process };  // what could be had back: 60 pages of it
inline constexpr std::string_view asker_names[] = {"process", "PF_MEMALLOC", "preempt off", "hardirq"};
inline constexpr std::string_view spare_names[] = {"nothing", "clean", "dirty", "anon", "process"};

struct Level {
  std::string_view name;
  std::uint32_t free;  // pages
};
std::span<const Level> levels();
std::span<const std::string_view> requests();  // GFP words

Fate fate(std::string_view request, const Level& level, Spare spare, Asker asker);
std::string fate_case(std::string_view request, const Level& level, Spare spare,
                      Asker asker);                          // expects what fate() says
Fate fate_of(const Case& the_case, const Outcome& outcome);  // of a run of such a case, with its history

std::string fate_letters_of(std::string_view request, Spare spare, Asker asker);  // one a level
std::string fates_text();                                                         // as model/README.md has it

}  // namespace memtorture::run
