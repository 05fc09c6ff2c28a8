#include "model/run/fates.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "allocator/subject/gfp.h"
#include "model/program/text.h"

namespace memtorture::run {
namespace {

constexpr std::uint32_t pages = 256, spare_pages = 60;
constexpr std::uint32_t mark_min = 32, mark_low = 40;  // min_free_kbytes=128; HIGH kswapd's business
constexpr std::uint32_t round_pages = 32;              // what a round of reclaim frees at most

// One between each two marks that a request can have: LOW, MIN, a half and three eighths of it, none.
constexpr Level level_rows[] = {{"plenty", 100},           {"below LOW", 38},     {"below MIN", 30},
                                {"below half of MIN", 14}, {"reserves only", 10}, {"nothing", 0}};
constexpr std::string_view request_rows[] = {"GFP_KERNEL",
                                             "GFP_USER",
                                             "GFP_HIGHUSER",
                                             "GFP_NOFS",
                                             "GFP_NOIO",
                                             "GFP_ATOMIC",
                                             "GFP_NOWAIT",
                                             "GFP_KERNEL|__GFP_HIGH",
                                             "GFP_KERNEL|__GFP_NORETRY",
                                             "GFP_KERNEL|__GFP_REPEAT",
                                             "GFP_KERNEL|__GFP_NOFAIL",
                                             "GFP_KERNEL|__GFP_NOMEMALLOC",
                                             "GFP_ATOMIC|__GFP_NOMEMALLOC"};

subject::gfp_t bits_of(std::string_view request) {
  const auto parsed =
      program::parse(fmt::format("memtorture 1\nmachine flat\ntask a cpu0\n  p = alloc_page {}\n", request));
  return std::get<program::AllocPage>(parsed->programs[0].ops[0]).gfp.bits;
}

// 5.6: down to which number of free pages the slow path goes.
std::uint32_t slow_mark(subject::gfp_t gfp) {
  const bool wait = (gfp & subject::gfp_wait) != 0, high = (gfp & subject::gfp_high) != 0;
  if (!high) return mark_min;  // also without __GFP_WAIT (RULING on GFP_NOWAIT)
  return wait ? mark_min / 2 : mark_min / 2 - mark_min / 2 / 4;
}

bool may_reclaim(subject::gfp_t gfp, Spare spare) {
  return spare == Spare::clean || (spare == Spare::dirty && (gfp & subject::gfp_fs) != 0) ||
         (spare == Spare::anon && (gfp & subject::gfp_io) != 0);
}

}  // namespace

std::span<const Level> levels() { return level_rows; }
std::span<const std::string_view> requests() { return request_rows; }

// 9.1, step by step.
Fate fate(std::string_view request, const Level& level, Spare spare, Asker asker) {
  const subject::gfp_t gfp = bits_of(request);
  const bool wait = (gfp & subject::gfp_wait) != 0, fs = (gfp & subject::gfp_fs) != 0;
  const bool noretry = (gfp & subject::gfp_noretry) != 0, nofail = (gfp & subject::gfp_nofail) != 0;
  const bool sleeps = asker == Asker::process || asker == Asker::memalloc;
  if (wait && !sleeps) return Fate::misuse;
  std::uint32_t free = level.free, left = spare == Spare::nothing ? 0 : spare_pages;
  if (free > mark_low || free > slow_mark(gfp)) return Fate::served;  // steps 1 and 4
  const bool reserves = asker == Asker::memalloc && (gfp & subject::gfp_nomemalloc) == 0;
  if (reserves && free != 0) return Fate::served;  // step 5
  if (!wait) return Fate::refused;                 // step 6
  if (asker == Asker::memalloc) {
    if (!nofail || !reserves) return Fate::refused;
    // Loops in step 5, while kswapd, woken in step 3, frees what anybody could.
    return left != 0 && spare != Spare::process ? Fate::reclaimed : Fate::waits;
  }
  for (;;) {  // steps 7 to 9
    const std::uint32_t freed = may_reclaim(gfp, spare) ? std::min(left, round_pages) : 0;
    free += freed;
    left -= freed;
    if (freed != 0 && free > slow_mark(gfp)) return Fate::reclaimed;
    if (freed == 0 && fs && !noretry) return spare == Spare::process ? Fate::killed : Fate::panics;
    if (noretry) return Fate::refused;
    // It waits; kswapd has every right that there is.
    if (freed == 0) return left != 0 && spare != Spare::process ? Fate::reclaimed : Fate::waits;
  }
}

std::string fate_case(std::string_view request, const Level& level, Spare spare, Asker asker) {
  constexpr std::string_view expectations[] = {
      "pass", "pass", "pass", "pass", "stalled", "panic", "misuse sleep-in-atomic"};
  const Fate should = fate(request, level, spare, asker);
  std::string text =
      fmt::format("memtorture 1\nmachine flat ram=1M min_free_kbytes=128\nexpect {}\n\ntask f cpu0 memalloc\n",
                  expectations[static_cast<unsigned>(should)]);
  auto out = std::back_inserter(text);
  std::uint32_t fill = pages - level.free;
  if (spare != Spare::nothing) {
    fmt::format_to(out, "  client_add {} {} GFP_ATOMIC\n", spare_names[static_cast<unsigned>(spare)], spare_pages);
    fill -= spare_pages;
  }
  for (std::uint32_t i = 0; i != fill; ++i) fmt::format_to(out, "  f{} = alloc_page GFP_ATOMIC|__GFP_NOWARN\n", i);
  if (asker == Asker::hardirq) {  // before kswapd, woken by the filling, has its turn
    text += "  nr_free_pages  ! op:1 irq t\n\nirq t cpu0\n";
  } else {
    fmt::format_to(out, "\ntask t cpu0{}\n", asker == Asker::memalloc ? " memalloc" : "");
  }
  if (asker == Asker::atomic) text += "  preempt_disable\n";
  fmt::format_to(out, "  p = alloc_page {}\n", request);
  if (asker == Asker::atomic) text += "  preempt_enable\n";
  return text;
}

Fate fate_of(const Case& the_case, const Outcome& outcome) {
  using oracle::EventKind;
  if (outcome.verdict == Verdict::misuse) return Fate::misuse;
  if (outcome.verdict == Verdict::panic) return Fate::panics;
  if (outcome.verdict == Verdict::stalled) return Fate::waits;
  constexpr ContextId asks = 1;
  bool reclaimed = false, killed = false, granted = false;
  for (const Event& event : outcome.history) {
    if (event.who != asks || event.op == harness_op) continue;
    reclaimed = reclaimed || event.kind == EventKind::reclaim_began || event.kind == EventKind::slept;
    killed = killed || event.kind == EventKind::oom_killed;
    const auto& ops = the_case.programs[asks].ops;
    if (event.kind == EventKind::result && event.op < ops.size() &&
        std::holds_alternative<program::AllocPage>(ops[event.op]))
      granted = event.pfn != machine::no_pfn;
  }
  if (!granted) return Fate::refused;
  return killed ? Fate::killed : reclaimed ? Fate::reclaimed : Fate::served;
}

std::string fate_letters_of(std::string_view request, Spare spare, Asker asker) {
  std::string letters;
  for (const Level& level : level_rows) letters += letter(fate(request, level, spare, asker));
  return letters;
}

std::string fates_text() {
  std::string text = "| context | request |";
  auto out = std::back_inserter(text);
  for (const std::string_view spare : spare_names) fmt::format_to(out, " {} |", spare);
  text += "\n|---|---|---|---|---|---|---|\n";
  for (unsigned asker = 0; asker != std::size(asker_names); ++asker) {
    for (const std::string_view request : request_rows) {
      std::string words(request);
      if (const std::size_t bar = words.find('|'); bar != words.npos) words.insert(bar, "\\");
      fmt::format_to(out, "| {} | {} |", asker_names[asker], words);
      for (unsigned spare = 0; spare != std::size(spare_names); ++spare)
        fmt::format_to(out, " {} |", fate_letters_of(request, static_cast<Spare>(spare), static_cast<Asker>(asker)));
      text += "\n";
    }
  }
  return text;
}

}  // namespace memtorture::run
