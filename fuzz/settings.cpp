#include "fuzz/settings.h"

#include <cstdlib>
#include <string_view>

namespace memtorture::fuzz {
namespace {

std::string_view variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string_view{} : std::string_view{value};
}

}  // namespace

Settings settings_from_environment() {
  Settings settings;
  if (const auto found = variable("MEMTORTURE_FOUND"); !found.empty()) settings.found = found;
  settings.stats = variable("MEMTORTURE_STATS");
  if (variable("MEMTORTURE_KEEP_GOING") == "1") settings.after_finding = AfterFinding::keep_going;
  return settings;
}

}  // namespace memtorture::fuzz
