// What the environment tells a fuzz target. Read once at start: libFuzzer owns the command line.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace memtorture::fuzz {

enum class AfterFinding : std::uint8_t { abort, keep_going };

struct Settings {
  std::filesystem::path found = "found";             // $MEMTORTURE_FOUND: where reproducers go
  std::filesystem::path stats = {};                  // $MEMTORTURE_STATS: where the figures go; empty: nowhere
  AfterFinding after_finding = AfterFinding::abort;  // $MEMTORTURE_KEEP_GOING=1: a campaign goes on
};

Settings settings_from_environment();

}  // namespace memtorture::fuzz
