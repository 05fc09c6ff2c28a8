#include "props/arbitrary.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "model/program/edits.h"
#include "model/program/legal.h"
#include "model/program/text.h"

namespace memtorture::program {

void showValue(const Case& the_case, std::ostream& out) { out << '\n' << print(the_case); }

}  // namespace memtorture::program

namespace memtorture::props {
namespace {

// RapidCheck knows no end of shrinking, and a counterexample may be slow to run (a livelock uses up its step budget).
// The minimiser, which has a budget too, goes on where this stops: memtorture shrink.
constexpr int shrinks_max = 2'000;

// One deletion or simplification, as a value: a list of them is cheap, a list of the cases that they give is not.
struct Edit {
  enum class What : std::uint8_t { program, ops, rule, departure, shape, op } what;
  std::size_t program = 0, at = 0, count = 0;  // count: of operations; of `op` and `shape` which of the simpler ones
};

void list_deletions(const Case& c, std::vector<Edit>& edits) {
  for (std::size_t p = 0; p != c.programs.size(); ++p) {
    if (c.programs.size() > 1) edits.push_back({Edit::What::program, p});
  }
  for (std::size_t p = 0; p != c.programs.size(); ++p) {
    const std::size_t length = c.programs[p].ops.size();
    for (std::size_t chunk = length; chunk != 0; chunk /= 2) {
      for (std::size_t at = 0; at < length; at += chunk)
        edits.push_back({Edit::What::ops, p, at, std::min(chunk, length - at)});
    }
  }
  for (std::size_t i = 0; i != c.faults.size(); ++i) edits.push_back({Edit::What::rule, 0, i});
  for (std::size_t i = 0; i != c.departures.size(); ++i) edits.push_back({Edit::What::departure, 0, i});
}

void list_simplifications(const Case& c, std::vector<Edit>& edits) {
  const std::size_t shapes = program::simpler(c.shape).size();
  for (std::size_t i = 0; i != shapes; ++i) edits.push_back({Edit::What::shape, 0, 0, i});
  for (std::size_t p = 0; p != c.programs.size(); ++p) {
    for (std::size_t at = 0; at != c.programs[p].ops.size(); ++at) {
      const std::size_t ops = program::simpler(c.programs[p].ops[at]).size();
      for (std::size_t i = 0; i != ops; ++i) edits.push_back({Edit::What::op, p, at, i});
    }
  }
}

Case applied(Case c, const Edit& edit) {
  switch (edit.what) {
    case Edit::What::program: program::erase_program(c, edit.program); break;
    case Edit::What::ops: program::erase_ops(c, edit.program, edit.at, edit.count); break;
    case Edit::What::rule: program::erase_fault_rule(c, edit.at); break;
    case Edit::What::departure: program::erase_departure(c, edit.at); break;
    case Edit::What::shape: c.shape = program::simpler(c.shape)[edit.count]; break;
    case Edit::What::op: {
      auto& op = c.programs[edit.program].ops[edit.at];
      op = program::simpler(op)[edit.count];
      break;
    }
  }
  program::make_legal(c);
  return c;
}

}  // namespace

rc::Seq<Case> smaller(const Case& the_case) {
  std::vector<Edit> edits;
  list_deletions(the_case, edits);
  list_simplifications(the_case, edits);
  const auto shared = std::make_shared<const Case>(the_case);
  return rc::seq::map(rc::seq::fromContainer(std::move(edits)),
                      [shared](const Edit& edit) { return applied(*shared, edit); });
}

rc::Gen<Case> cases(const GenerateOptions& options) {
  return [options](const rc::Random& random, int size) {
    GenerateOptions sized = options;
    const auto share = static_cast<std::uint32_t>(std::clamp(size, 1, rc::kNominalSize));
    sized.ops_max =
        std::max(options.ops_min + 1, options.ops_max * share / static_cast<std::uint32_t>(rc::kNominalSize));
    rc::Random source = random;
    const auto left = std::make_shared<int>(shrinks_max);
    const auto shrinks = [left](const Case& c) {
      return rc::seq::takeWhile(smaller(c), [left](const Case&) { return (*left)-- > 0; });
    };
    return rc::shrinkable::shrinkRecur(program::generate(source.next(), sized), shrinks);
  };
}

rc::Gen<std::uint64_t> seeds() {
  return [](const rc::Random& random, int) {
    rc::Random source = random;
    return rc::shrinkable::just(static_cast<std::uint64_t>(source.next()));
  };
}

}  // namespace memtorture::props
