#include "stress/explore/sweep.h"

#include <algorithm>
#include <map>

#include "model/program/edits.h"

namespace memtorture::explore {

using machine::Departure;
using machine::Moment;
using machine::Move;
using machine::Option;
using oracle::EventKind;
using program::Case;
using run::Event;
using run::Outcome;

namespace {

// Follows a schedule, and writes down where the world could have failed and how else it could have gone on.
class Scout final : public machine::Chooser {
 public:
  struct Point {
    Moment at;
    std::vector<Option> options;  // but for the default
  };

  Scout(std::span<const Departure> schedule, bool notes_options) : replay_(schedule), notes_options_(notes_options) {}

  bool interested(const Moment& moment) override {
    scheduled_ = replay_.interested(moment);
    if (moment.site.is_fault()) {
      if (scheduled_ && !failed_) {
        failed_ = true;
        first_failure = points.size();
      }
      if (!scheduled_) visits.push_back(moment);
      if (failed_) visits_after_failure = std::min(visits_after_failure, visits.size());
      return scheduled_;
    }
    return scheduled_ || notes_options_;
  }
  std::uint32_t choose(const Moment& moment, std::span<const Option> options) override {
    if (notes_options_ && !moment.site.is_fault()) points.push_back({moment, {options.begin() + 1, options.end()}});
    return scheduled_ ? replay_.choose(moment, options) : 0;
  }
  bool roll(const Moment& moment, std::uint32_t percent) override { return replay_.roll(moment, percent); }
  void restart() override { replay_.restart(); }

  std::vector<Moment> visits;                          // that the schedule lets pass
  std::size_t visits_after_failure = ~std::size_t{0};  // index of the first one behind the first failure
  std::vector<Point> points;
  std::size_t first_failure = 0;  // index of the first point behind it

 private:
  run::ReplayChooser replay_;
  bool notes_options_, scheduled_ = false, failed_ = false;
};

const Event* result_of(const std::vector<Event>& history, machine::ContextId who, std::uint32_t op) {
  const auto found = std::find_if(history.rbegin(), history.rend(), [&](const Event& event) {
    return event.kind == EventKind::result && event.who == who && event.op == op;
  });
  return found == history.rend() ? nullptr : &*found;
}

bool was_refused(const program::Op& op, const Event& result) {
  if (std::holds_alternative<program::PoolResize>(op)) return static_cast<std::int64_t>(result.value) < 0;
  if (program::field_of<program::Out>(op) == nullptr) return false;
  const bool has_address = program::is_for_objects(op) || program::is_for_percpu(op) || program::is_for_stacks(op);
  return has_address ? result.value == 0 : result.pfn == machine::no_pfn;
}

constexpr Departure failure(const Moment& at) { return {.at = at, .take = {.move = Move::fail}}; }

// What a daemon does in all of its activations is one thing.
using Place = std::tuple<machine::ContextId, std::uint32_t, machine::Site>;
Place place_of(const Moment& at) { return {at.who, machine::is_daemon(at.who) ? 0 : at.op, at.site}; }

// One run more? The second half of a budget is for what is new.
bool spend(std::uint64_t& left, std::uint64_t budget, bool is_new) {
  if (left == 0 || (!is_new && left * 2 < budget)) return false;
  --left;
  return true;
}

constexpr std::size_t points_before = 6, points_after = 18;  // of a failure: where it is crossed

}  // namespace

// The operation once more comes behind itself. Its slot is free still, since it was refused.
Case attempted(const Case& the_case, const Attempt& attempt) {
  Case its_own = the_case;
  const Moment& at = attempt.plan[0].at;
  if (attempt.stage == Stage::recovery) {
    const program::Op op = the_case.programs[at.who].ops[at.op];
    program::insert_op(its_own, at.who, at.op + 1, op);
  }
  its_own.departures.insert(its_own.departures.end(), attempt.plan.begin(), attempt.plan.begin() + attempt.planned);
  program::sort_departures(its_own);
  return its_own;
}

struct Sweep::Seen {
  std::vector<Moment> visits;
  std::size_t behind_failure = 0;
  std::vector<Scout::Point> points;
  std::size_t first_failure = 0;
};

std::string_view caller_name(std::size_t caller) {
  return caller < program::op_kinds ? program::op_names[caller] : std::string_view("(daemons)");
}

bool SweepTotals::reached(machine::Site site) const {
  return std::ranges::any_of(cells[site.index()], [](const Cell& cell) { return cell.visits != 0; });
}

Cell SweepTotals::of_site(machine::Site site) const {
  Cell sum;
  for (const Cell& cell : cells[site.index()]) {
    sum.visits += cell.visits;
    sum.failed += cell.failed;
    sum.survived += cell.survived;
    sum.ended += cell.ended;
  }
  return sum;
}

std::vector<std::string> wrong_outcomes(const SweepTotals& totals) {
  std::vector<std::string> wrong;
  for (const SiteOutcomes& row : site_outcomes) {
    const Cell cell = totals.of_site(row.site);
    if (cell.visits + cell.failed + cell.survived == 0) continue;
    const auto look = [&](Outcomes outcome, std::uint64_t seen, std::string_view what) {
      if (((seen != 0 ? row.never : row.due) & outcome) == 0) return;
      wrong.push_back(std::string(row.site.name()) + (seen != 0 ? " was " : " was never ") + std::string(what));
    };
    look(refused, cell.failed, "refused");
    look(survived, cell.survived, "survived");
  }
  return wrong;
}

Sweep::Sweep(SweepOptions options, std::unique_ptr<subject::Subject> subject)
    : options_(std::move(options)), runner_(std::move(subject)) {
  options_.run.keep = run::Keep::history;
}
Sweep::~Sweep() = default;

std::size_t Sweep::caller_of(const Case& the_case, const Moment& at) const {
  if (at.who >= the_case.programs.size()) return daemons_row;
  const auto& ops = the_case.programs[at.who].ops;
  return at.op < ops.size() ? ops[at.op].index() : daemons_row;
}

// Null: the sweep was stopped. The outcome is valid until the next run.
const Outcome* Sweep::execute(const Case& the_case, const Attempt& attempt, Seen* seen, bool note_options) {
  if (stopped()) return nullptr;
  if (options_.before) options_.before(attempt);
  const Case its_own = attempted(the_case, attempt);
  Scout scout(its_own.departures, note_options);
  const Outcome& outcome = runner_.run(its_own, scout, options_.run);
  ++totals_.runs[static_cast<std::size_t>(attempt.stage)];
  if (seen != nullptr)
    *seen = {std::move(scout.visits), scout.visits_after_failure, std::move(scout.points), scout.first_failure};
  const bool expected = attempt.stage == Stage::untouched && run::as_expected(the_case.expect, outcome);
  if (outcome.is_bug() && !expected) {
    ++totals_.bugs[static_cast<std::size_t>(attempt.stage)];
    if (options_.on_bug) options_.on_bug(its_own, Outcome(outcome), attempt.stage);
  }
  return &outcome;
}

void Sweep::run(const Case& the_case) {
  Seen untouched;
  const Outcome* const outcome = execute(the_case, {}, &untouched);
  if (outcome == nullptr) return;
  if (outcome->is_bug()) {
    ++totals_.skipped;
    return;
  }
  ++totals_.cases;
  pairs_left_ = options_.pairs;
  crossed_left_ = options_.crossed;
  refused_untouched_.clear();
  for (const Event& event : outcome->history) {
    if (event.kind != EventKind::result || event.who >= the_case.programs.size()) continue;
    const auto& ops = the_case.programs[event.who].ops;
    if (event.op < ops.size() && was_refused(ops[event.op], event)) refused_untouched_.insert({event.who, event.op});
  }
  for (const Moment& at : untouched.visits) ++totals_.cells[at.site.index()][caller_of(the_case, at)].visits;
  const std::vector<Moment> chosen = some_of(untouched.visits);
  totals_.visits_left += untouched.visits.size() - chosen.size();
  for (const Moment& at : chosen) single(the_case, at);
}

// Of what pays very many visits to a site the first and the last ones.
std::vector<Moment> Sweep::some_of(std::span<const Moment> visits) const {
  std::vector<Moment> chosen;
  if (options_.visits == 0) return {visits.begin(), visits.end()};
  struct Count {
    std::size_t all = 0, seen = 0;
  };
  std::map<Place, Count> counts;
  for (const Moment& at : visits) ++counts[place_of(at)].all;
  const std::size_t half = (options_.visits + 1) / 2;
  for (const Moment& at : visits) {
    Count& count = counts[place_of(at)];
    if (count.seen < half || count.seen + half >= count.all) chosen.push_back(at);
    ++count.seen;
  }
  return chosen;
}

void Sweep::single(const Case& the_case, const Moment& at) {
  Seen seen;
  const Outcome* const outcome =
      execute(the_case, {.stage = Stage::single, .plan = {failure(at)}, .planned = 1}, &seen);
  if (outcome == nullptr) return;
  const std::size_t caller = caller_of(the_case, at);
  const Event* const result = result_of(outcome->history, at.who, at.op);
  const bool refused =
      result != nullptr && caller != daemons_row && was_refused(the_case.programs[at.who].ops[at.op], *result);
  Cell& cell = totals_.cells[at.site.index()][caller];
  ++(refused ? cell.failed : result != nullptr || caller == daemons_row ? cell.survived : cell.ended);
  const bool bug = outcome->is_bug();
  if (options_.persistent)
    (void)execute(
        the_case,
        {.stage = Stage::persistent, .plan = {Departure{.at = at, .take = {.move = Move::fail_from}}}, .planned = 1},
        nullptr);
  if (bug) return;  // what comes on top of it shows nothing new
  const bool due = !refused_untouched_.contains({at.who, at.op});
  if (refused && due && options_.recovery) recover(the_case, at);
  pairs(the_case, at, seen);
  crossed(the_case, at);
}

// Asked again right away, the same request gets what it got when nothing failed: a failure leaves nothing behind that
// stands in its way.
void Sweep::recover(const Case& the_case, const Moment& at) {
  const program::Op& op = the_case.programs[at.who].ops[at.op];
  const Outcome* const outcome =
      execute(the_case, {.stage = Stage::recovery, .plan = {failure(at)}, .planned = 1}, nullptr);
  if (outcome == nullptr || outcome->is_bug()) return;
  const Event* const result = result_of(outcome->history, at.who, at.op + 1);
  if (result == nullptr) return;
  Cell& cell = totals_.cells[at.site.index()][op.index()];
  ++(was_refused(op, *result) ? cell.unrecovered : cell.recovered);
}

// Of the run that the failure left, each later visit fails as well.
void Sweep::pairs(const Case& the_case, const Moment& at, const Seen& failed) {
  if (options_.pairs == 0 || failed.behind_failure >= failed.visits.size()) return;
  for (const Moment& second : some_of(std::span(failed.visits).subspan(failed.behind_failure))) {
    const bool is_new =
        pairs_seen_.insert({at.site.index(), caller_of(the_case, at), second.site.index(), caller_of(the_case, second)})
            .second;
    if (!spend(pairs_left_, options_.pairs, is_new)) {
      ++totals_.pairs_left;
      continue;
    }
    const Attempt attempt{.stage = Stage::pair, .plan = {failure(at), failure(second)}, .planned = 2};
    if (execute(the_case, attempt, nullptr) == nullptr) return;
  }
}

// At each point around the failure each other way to go on.
void Sweep::crossed(const Case& the_case, const Moment& at) {
  if (options_.crossed == 0) return;
  Seen seen;
  if (execute(the_case, {.stage = Stage::crossed, .plan = {failure(at)}, .planned = 1}, &seen, true) == nullptr) return;
  const std::size_t first = seen.first_failure - std::min(seen.first_failure, points_before);
  const std::size_t last = std::min(seen.points.size(), seen.first_failure + points_after);
  for (std::size_t i = first; i < last; ++i) {
    for (const Option& option : seen.points[i].options) {
      const Moment& where = seen.points[i].at;
      const bool is_new = crossings_seen_
                              .insert({at.site.index(), caller_of(the_case, at), where.site.index(),
                                       static_cast<std::size_t>(option.move)})
                              .second;
      if (!spend(crossed_left_, options_.crossed, is_new)) {
        ++totals_.crossed_left;
        continue;
      }
      const Attempt attempt{
          .stage = Stage::crossed, .plan = {failure(at), Departure{.at = where, .take = option}}, .planned = 2};
      if (execute(the_case, attempt, nullptr) == nullptr) return;
    }
  }
}

}  // namespace memtorture::explore
