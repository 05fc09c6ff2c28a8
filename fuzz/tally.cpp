#include "fuzz/tally.h"

#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include <fmt/format.h>

namespace memtorture::fuzz {

Tally::Tally(std::string target, std::filesystem::path directory)
    : target_(std::move(target)), directory_(std::move(directory)) {}

Tally::~Tally() { write(); }

void Tally::count(const run::Statistics& statistics) {
  sum_.add(statistics);
  if (++cases_ % rewrite_every == 0) write();
}

std::string Tally::json() const {
  const nlohmann::ordered_json figures = {
      {"target", target_},       {"cases", cases_},       {"operations", sum_.operations},
      {"refused", sum_.refused}, {"faults", sum_.faults}, {"interrupts", sum_.interrupts},
      {"steps", sum_.steps},     {"findings", findings_}};
  return figures.dump(2) + "\n";
}

// Not shrink::write_atomically: that one waits for the disk, which reproducers are worth and figures are not.
void Tally::write() {
  if (directory_.empty()) return;
  std::error_code ignored;
  std::filesystem::create_directories(directory_, ignored);
  const auto path = directory_ / fmt::format("stats-{}-{}.json", target_, getpid());
  auto half = path;
  half += ".tmp";
  const bool whole = static_cast<bool>(std::ofstream(half) << json() << std::flush);
  if (whole) std::filesystem::rename(half, path, ignored);
  if (!whole) std::filesystem::remove(half, ignored);
}

}  // namespace memtorture::fuzz
