#include "stress/explore/forks.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>

#include "model/run/choosers.h"

namespace memtorture::explore {

namespace {

using machine::Moment;
using machine::Move;
using machine::Option;

class Forker final : public machine::Chooser {
 public:
  Forker(std::span<const machine::Departure> schedule, std::span<const Moment> visits,
         const std::function<bool(const Moment&)>& before)
      : replay_(schedule), visits_(visits), before_(before) {}

  bool interested(const Moment& moment) override {
    if (replay_.interested(moment)) return true;
    if (is_child() || broken_ || next_ == visits_.size() || moment != visits_[next_]) return false;
    ++next_;
    return leaves_child();
  }
  // In the child the visit fails, which is the only other option of a fault site.
  std::uint32_t choose(const Moment& moment, std::span<const Option> options) override {
    if (!is_child() || failed_) return replay_.choose(moment, options);
    failed_ = true;
    const auto fails = std::ranges::find(options, Move::fail, &Option::move);
    return fails == options.end() ? 0 : static_cast<std::uint32_t>(fails - options.begin());
  }
  bool roll(const Moment& moment, std::uint32_t percent) override { return replay_.roll(moment, percent); }
  void restart() override { replay_.restart(); }

  bool is_child() const { return to_parent_ >= 0; }
  const Moment& failed() const { return visits_[next_ - 1]; }
  [[noreturn]] void tell(Fate fate) const {
    _exit(write(to_parent_, &fate, sizeof(fate)) == static_cast<ssize_t>(sizeof(fate)) ? 0 : 1);
  }
  std::vector<Fate> fates() const { return broken_ || next_ != visits_.size() ? std::vector<Fate>() : fates_; }

 private:
  bool leaves_child() {  // true: this is the child
    int ends[2];
    broken_ = !before_(visits_[next_ - 1]) || pipe(ends) != 0;
    if (broken_) return false;
    std::fflush(nullptr);
    const pid_t parent = getpid();
    const pid_t pid = fork();
    if (pid == 0) {
      close(ends[0]);
      prctl(PR_SET_PDEATHSIG, SIGKILL);  // who ends a run that hangs ends this one
      if (getppid() != parent) _exit(1);
      to_parent_ = ends[1];
      return true;
    }
    close(ends[1]);
    Fate fate = Fate::died;
    broken_ = pid < 0;
    if (pid > 0 && read(ends[0], &fate, sizeof(fate)) != static_cast<ssize_t>(sizeof(fate))) fate = Fate::died;
    close(ends[0]);
    while (pid > 0 && waitpid(pid, nullptr, 0) != pid) {
    }
    fates_.push_back(fate);
    return false;
  }

  run::ReplayChooser replay_;
  std::span<const Moment> visits_;
  const std::function<bool(const Moment&)>& before_;
  std::vector<Fate> fates_;
  std::size_t next_ = 0;
  int to_parent_ = -1;
  bool failed_ = false, broken_ = false;
};

}  // namespace

std::vector<Fate> fork_at_visits(run::Runner& runner, const program::Case& the_case, const run::Options& options,
                                 std::span<const Moment> visits,
                                 const std::function<Fate(const run::Outcome&, const Moment&)>& fate_of,
                                 const std::function<bool(const Moment&)>& before) {
  Forker forker(the_case.departures, visits, before);
  const run::Outcome& outcome = runner.run(the_case, forker, options);
  if (forker.is_child()) forker.tell(fate_of(outcome, forker.failed()));
  return forker.fates();
}

}  // namespace memtorture::explore
