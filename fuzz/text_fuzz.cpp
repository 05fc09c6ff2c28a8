// text_fuzz: arbitrary bytes through the parser of the case language. The promises are in text_properties.h; a broken
// one ends the process, and the input that libFuzzer records is the reproducer.
#include <cstdlib>
#include <string_view>

#include <fmt/format.h>

#include "fuzz/settings.h"
#include "fuzz/tally.h"
#include "fuzz/text_properties.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace memtorture;
  static fuzz::Tally tally("text_fuzz", fuzz::settings_from_environment().stats);
  tally.count({});
  if (const auto broken = fuzz::broken_promise({reinterpret_cast<const char*>(data), size})) {
    fmt::print(stderr, "\ntext_fuzz: {}\n", *broken);
    tally.found(*broken);
    tally.write();
    std::abort();
  }
  return 0;
}
