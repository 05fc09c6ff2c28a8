#include "cli/recording.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <fstream>

#include <fmt/format.h>

#include "cli/board.h"
#include "model/run/sandbox.h"

namespace memtorture::cli {
namespace {

struct Recording {
  static constexpr std::uint32_t departures_max = 1 << 16;  // 200,000 points are the most that a run may pass
  std::atomic<std::uint32_t> count;
  machine::Departure departures[departures_max];
};

class RecordingChooser final : public machine::Chooser {
 public:
  RecordingChooser(machine::Chooser& chooser, Recording& recording) : chooser_(chooser), recording_(recording) {}
  bool interested(const machine::Moment& moment) override { return chooser_.interested(moment); }
  bool roll(const machine::Moment& moment, std::uint32_t percent) override { return chooser_.roll(moment, percent); }
  void restart() override {
    chooser_.restart();
    recording_.count.store(0);
  }
  std::uint32_t choose(const machine::Moment& moment, std::span<const machine::Option> options) override {
    const std::uint32_t choice = chooser_.choose(moment, options);
    const std::uint32_t count = recording_.count.load();
    if (choice != 0 && count != Recording::departures_max) {
      recording_.departures[count] = {.at = moment, .take = options[choice]};
      recording_.count.store(count + 1);
    }
    return choice;
  }

 private:
  machine::Chooser& chooser_;
  Recording& recording_;
};

// Waits for the end of a child, or brings it about.
void wait_limited(pid_t pid, const run::SandboxLimits& limits) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(limits.seconds);
  while (waitpid(pid, nullptr, WNOHANG) == 0) {
    if (std::chrono::steady_clock::now() > end || resident_bytes(pid) > limits.memory_bytes) kill(pid, SIGKILL);
    poll(nullptr, 0, 10);
  }
}

}  // namespace

std::uint64_t resident_bytes(int pid) {
  std::ifstream statm(fmt::format("/proc/{}/statm", pid));
  std::uint64_t total = 0, resident = 0;
  statm >> total >> resident;
  return resident * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

std::vector<machine::Departure> record_schedule(const Generator& generator, std::uint64_t seed,
                                                const program::Case& the_case, const run::Options& options) {
  const Shared<Recording> recording;
  std::fflush(nullptr);
  const pid_t pid = fork();
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), STDERR_FILENO);
    auto chooser = generator.chooser(seed, the_case);
    RecordingChooser recorder(chooser, *recording);
    static_cast<void>(run::run(the_case, recorder, options));
    _exit(0);
  }
  if (pid > 0) wait_limited(pid, {});
  return {recording->departures, recording->departures + recording->count.load()};
}

}  // namespace memtorture::cli
