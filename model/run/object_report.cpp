// What a report about an object says beyond its first line: whose it is, both of its lives, and where it was touched,
// in the words of the kernel's tools (domain.md 10.9, 20.1).
#include <fmt/format.h>

#include <iterator>

#include "model/run/names.h"
#include "model/run/outcome.h"

namespace memtorture::run {

namespace {

std::string place(const machine::Shape& shape, std::uint64_t address) {
  const std::uint64_t offset = address - machine::Ram::linear_base;
  if (address < machine::Ram::linear_base || offset >= shape.ram_bytes) return fmt::format("nowhere/{:#x}", address);
  const auto pfn = static_cast<machine::Pfn>(offset >> shape.page_shift);
  return fmt::format("{}/{:#x}", frame_name(shape, pfn), offset & (shape.page_bytes() - 1));
}

void tell_life(std::string& text, const Case& the_case, std::string_view what, const machine::Life& life) {
  if (!life.known) return;
  fmt::format_to(std::back_inserter(text), "  #   {} by {} {}, cpu{}, jiffies {}: {}\n", what,
                 machine::context_kind_names[static_cast<unsigned>(life.kind)], context_name(the_case, life.who),
                 life.cpu, life.jiffies, operation_text(the_case, life.who, life.op));
}

std::string where(const machine::ObjectDetails& object) {
  const std::int64_t at = object.offset;
  const auto size = static_cast<std::int64_t>(object.size);
  if (at < 0) return fmt::format("{} bytes to the left of", -at);
  if (at >= size) return fmt::format("{} bytes to the right of", at - size);
  return fmt::format("{} bytes inside of", at);
}

}  // namespace

std::string print_object_report(const Case& the_case, const ObjectReport& report) {
  const machine::ObjectDetails& object = report.details;
  const bool access = object.bytes != 0;
  std::string text;
  auto out = std::back_inserter(text);
  if (access) {
    fmt::format_to(out, "  #   {} of size {} at addr {}\n", object.access == machine::Access::read ? "Read" : "Write",
                   object.bytes, place(the_case.shape, report.address));
  }
  if (object.size == 0) return text;
  fmt::format_to(out, "  #   The buggy address belongs to the object at {}, which belongs to the cache {} of size {}\n",
                 place(the_case.shape, object.start), report.cache, object.size);
  if (access || report.overwritten)
    fmt::format_to(out, "  #   The buggy address is located {} the {}-byte region\n", where(object), object.size);
  if (report.overwritten) fmt::format_to(out, "  #   First byte found there: {:#04x}\n", object.found);
  tell_life(text, the_case, "Allocated", object.allocated);
  tell_life(text, the_case, "Freed", object.freed);
  return text;
}

}  // namespace memtorture::run
