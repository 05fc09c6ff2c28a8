#include "fuzz/autopsy.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <type_traits>

#include "fuzz/pages_target.h"
#include "model/program/codec.h"

namespace memtorture::fuzz {
namespace {

using machine::Departure;
using machine::Moment;
using machine::Option;
using program::Case;

static_assert(std::is_trivially_copyable_v<Departure>, "it survives its writer as bytes");

// Written by the child, read by the parent after the child's end. An entry is whole before the count covers it.
class SharedLog {
 public:
  SharedLog() {
    void* memory =
        mmap(nullptr, sizeof(Pages), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
      std::perror("memtorture: cannot share memory with the child of an autopsy");
      std::abort();
    }
    pages_ = static_cast<Pages*>(memory);
  }
  ~SharedLog() { munmap(pages_, sizeof(Pages)); }
  SharedLog(const SharedLog&) = delete;
  SharedLog& operator=(const SharedLog&) = delete;

  void add(const Departure& departure) {
    if (pages_->count == entries_max) return;
    pages_->entries[pages_->count] = departure;
    pages_->count = pages_->count + 1;
  }
  std::span<const Departure> departures() const { return {pages_->entries, pages_->count}; }

 private:
  static constexpr std::uint32_t entries_max = 1 << 16;
  struct Pages {
    volatile std::uint32_t count;  // the store must not move in front of the entry
    Departure entries[entries_max];
  };
  Pages* pages_;
};

class Recorder final : public machine::Chooser {
 public:
  Recorder(machine::Chooser& inner, SharedLog& log) : inner_(inner), log_(log) {}
  bool interested(const Moment& moment) override { return inner_.interested(moment); }
  std::uint32_t choose(const Moment& moment, std::span<const Option> options) override {
    const std::uint32_t chosen = inner_.choose(moment, options);
    if (chosen != 0) log_.add({.at = moment, .take = options[chosen], .step = 0});
    return chosen;
  }
  bool roll(const Moment& moment, std::uint32_t percent) override { return inner_.roll(moment, percent); }
  void restart() override { inner_.restart(); }

 private:
  machine::Chooser& inner_;
  SharedLog& log_;
};

[[noreturn]] void die_again(std::span<const std::uint8_t> bytes, const Case& the_case, SharedLog& log,
                            const run::SandboxLimits& limits) {
  const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
  if (nowhere >= 0) dup2(nowhere, STDERR_FILENO);  // the sandbox will tell it again, and keep it
  alarm(limits.seconds);
  run::RandomChooser dice = chooser_of(bytes, the_case);
  Recorder recorder(dice, log);
  static_cast<void>(run::run(the_case, recorder));
  _exit(0);
}

}  // namespace

Case case_with_departures(std::span<const std::uint8_t> bytes, const run::SandboxLimits& limits) {
  Case the_case = program::decode(bytes);
  SharedLog log;
  std::fflush(nullptr);
  const pid_t pid = fork();
  if (pid == 0) die_again(bytes, the_case, log, limits);
  if (pid < 0) {
    std::perror("memtorture: cannot fork for an autopsy");
    std::abort();
  }
  int status = 0;
  waitpid(pid, &status, 0);
  the_case.departures.assign(log.departures().begin(), log.departures().end());
  program::sort_departures(the_case);
  return the_case;
}

std::expected<std::optional<shrink::Found>, std::string> autopsy(std::span<const std::uint8_t> bytes,
                                                                 const std::filesystem::path& found,
                                                                 const run::SandboxLimits& limits) {
  const Case the_case = case_with_departures(bytes, limits);
  const run::Outcome outcome = run::replay_sandboxed(the_case, {}, limits);
  if (!outcome.is_bug()) return std::nullopt;
  // A sandboxed run costs a process, one of a hang its whole time limit.
  const bool slow = outcome.verdict == run::Verdict::hang;
  const auto judge = [&](const Case& candidate) { return run::replay_sandboxed(candidate, {}, limits); };
  auto saved = shrink::save(found, the_case, outcome, judge, {.runs_budget = slow ? 16u : 2'000u});
  if (!saved) return std::unexpected(saved.error());
  return std::move(*saved);
}

}  // namespace memtorture::fuzz
