#include "model/program/case.h"

#include <algorithm>

namespace memtorture::program {

std::uint32_t client_pages_most(const Case& the_case) {
  constexpr std::size_t together = std::size_t{1} << 20;
  std::size_t adds = 0;
  for (const Program& program : the_case.programs) {
    for (const Op& op : program.ops) adds += std::get_if<ClientAdd>(&op) != nullptr;
  }
  return std::min<std::uint32_t>(the_case.shape.frames(), together / std::max<std::size_t>(adds, 1));
}

}  // namespace memtorture::program
