#include "model/program/words.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

namespace memtorture::program {
namespace {

struct Daemons {
  std::string_view stem;
  machine::ContextId first;
  unsigned count;
};
constexpr Daemons daemons[] = {{"kswapd", machine::kswapd_first, machine::nodes_max},
                               {"pcpu_balance", machine::percpu_work, 1},
                               {"events", machine::events_first, machine::cpus_max}};
constexpr std::size_t distance_length_max = 32;

}  // namespace

bool is_name(std::string_view word) {
  if (word.empty() || word.size() > name_length_max || word[0] < 'a' || word[0] > 'z') return false;
  return std::ranges::all_of(word, [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'; });
}

std::string daemon_name(machine::ContextId daemon) {
  const Daemons& kind = daemons[machine::is_worker(daemon) ? 2 : machine::is_kswapd(daemon) ? 0 : 1];
  return fmt::format("{}{}", kind.stem, daemon - kind.first);
}

std::optional<machine::ContextId> find_daemon(std::string_view name) {
  for (const Daemons& kind : daemons) {
    for (unsigned i = 0; name.starts_with(kind.stem) && i != kind.count; ++i) {
      const auto id = static_cast<machine::ContextId>(kind.first + i);
      if (daemon_name(id) == name) return id;
    }
  }
  return std::nullopt;
}

std::string print_size(std::uint64_t bytes) {
  static constexpr std::string_view suffixes = "TGMK";
  for (std::size_t i = 0; i < suffixes.size(); ++i) {
    const std::uint64_t unit = std::uint64_t{1} << (10 * (suffixes.size() - i));
    if (bytes != 0 && bytes % unit == 0) return fmt::format("{}{}", bytes / unit, suffixes[i]);
  }
  return fmt::format("{}", bytes);
}

unsigned edit_distance(std::string_view a, std::string_view b) {
  if (a.size() > distance_length_max || b.size() > distance_length_max) return ~0U;
  std::array<std::array<unsigned, distance_length_max + 1>, 3> rows{};
  for (std::size_t j = 0; j <= b.size(); ++j) rows[0][j] = static_cast<unsigned>(j);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    auto& row = rows[i % 3];
    const auto& above = rows[(i + 2) % 3];
    const auto& above2 = rows[(i + 1) % 3];
    row[0] = static_cast<unsigned>(i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] == b[j - 1] ? 0U : 1U)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = std::min(row[j], above2[j - 2] + 1);
    }
  }
  return rows[a.size() % 3][b.size()];
}

std::optional<std::string_view> nearest_word(std::string_view word, std::span<const std::string_view> candidates) {
  std::optional<std::string_view> best;
  unsigned best_distance = std::max<unsigned>(1, static_cast<unsigned>(word.size()) / 3) + 1;
  for (const std::string_view candidate : candidates) {
    const unsigned distance = edit_distance(word, candidate);
    if (distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

std::string did_you_mean(std::string_view word, std::span<const std::string_view> candidates) {
  const auto nearest = nearest_word(word, candidates);
  return nearest ? fmt::format("did you mean '{}'?", *nearest) : std::string();
}

}  // namespace memtorture::program
