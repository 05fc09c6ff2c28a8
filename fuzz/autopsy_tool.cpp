// fuzz_autopsy FILE...: makes a shrunk case in $MEMTORTURE_FOUND of each raw input that killed a target. A file's
// folder is named after its target, as ci/fuzz has it (artifacts/objects_fuzz/crash-...). One line a file: the
// reproducer, "passes", or what went wrong. Exit code 0: every file was dealt with; 2: some could not be.
#include <cstdio>
#include <fstream>
#include <iterator>
#include <vector>

#include <fmt/format.h>

#include "fuzz/autopsy.h"
#include "fuzz/settings.h"

namespace {

using namespace memtorture;

bool deal_with(const char* name, const fuzz::Settings& settings) {
  std::ifstream file(name, std::ios::binary);
  const std::vector<std::uint8_t> bytes{std::istreambuf_iterator<char>(file), {}};
  if (!file) {
    fmt::print(stderr, "{}: cannot be read\n", name);
    return false;
  }
  const auto result = fuzz::autopsy(
      bytes, fuzz::scope_of(std::filesystem::absolute(name).parent_path().filename().string()), settings.found);
  if (!result) fmt::print(stderr, "{}: {}\n", name, result.error());
  if (result) fmt::print("{}: {}\n", name, *result ? (*result)->path.string() : "passes");
  return result.has_value();
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 2) {
    fmt::print(stderr,
               "usage: fuzz_autopsy TARGET/FILE...   raw inputs of a target -> shrunk cases in $MEMTORTURE_FOUND\n");
    return 2;
  }
  const fuzz::Settings settings = fuzz::settings_from_environment();
  bool all = true;
  for (int i = 1; i != count; ++i) all = deal_with(arguments[i], settings) && all;
  return all ? 0 : 2;
}
