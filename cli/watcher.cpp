#include "cli/watcher.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "cli/signals.h"
#include "model/run/sandbox.h"

namespace memtorture::cli {
namespace {

constexpr auto relaxed = std::memory_order_relaxed;
constexpr int slice_ms = 100;
constexpr std::uint64_t deaths_told = 5;
constexpr double shrink_grace_seconds = 30, end_grace_seconds = 60;  // after the search has ended

// Without a pulse for so long a worker hangs. In the aftermath a single step is a sandbox with a time limit of its own.
std::chrono::seconds patience(Phase phase) {
  const run::SandboxLimits limits;
  return std::chrono::seconds(phase == Phase::aftermath ? 4 * limits.seconds : limits.seconds);
}

std::string last_words(int fd) {
  constexpr std::size_t kept = 2000;
  std::string words(kept, '\0');
  const ssize_t got = pread(fd, words.data(), words.size(), 0);
  words.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  return words;
}

}  // namespace

Watcher::Watcher(const SearchOptions& options, Board& board) : options_(options), board_(board), jobs_(options.jobs) {}

Watcher::~Watcher() {
  for (Job& job : jobs_) {
    if (job.pid > 0) kill(-job.pid, SIGKILL), waitpid(job.pid, nullptr, 0);
    if (job.messages >= 0) close(job.messages);
    if (job.words >= 0) close(job.words);
  }
}

Summary Watcher::watch() {
  for (unsigned job = 0; job != jobs_.size(); ++job) start(job, std::nullopt);
  while (anybody()) {
    std::vector<pollfd> polled;
    std::vector<unsigned> owners;
    for (unsigned job = 0; job != jobs_.size(); ++job) {
      if (jobs_[job].pid < 0) continue;
      polled.push_back({.fd = jobs_[job].messages, .events = POLLIN, .revents = 0});
      owners.push_back(job);
    }
    poll(polled.data(), polled.size(), slice_ms);
    for (std::size_t i = 0; i != polled.size(); ++i) {
      if (polled[i].revents != 0) hear(owners[i]);
    }
    for (const unsigned job : owners) look_after(job);
    consider_stopping();
    show();
  }
  line_.clear();
  if (!stopped_) stop();
  summary_.seconds = std::chrono::duration<double>(*stopped_ - started_).count();
  summary_.interrupted = interrupted();
  if (summary_.interrupted) summary_.code = worse(summary_.code, Exit::interrupted);
  return std::move(summary_);
}

bool Watcher::anybody() const {
  return std::ranges::any_of(jobs_, [](const Job& job) { return job.pid > 0; });
}

// --- workers ---------------------------------------------------------------------------------------------------------

void Watcher::start(unsigned index, const std::optional<Death>& aftermath) {
  Job& job = jobs_[index];
  if (job.words < 0) job.words = memfd_create("memtorture-worker", MFD_CLOEXEC);
  int ends[2];
  if (job.words < 0 || ftruncate(job.words, 0) != 0 || lseek(job.words, 0, SEEK_SET) != 0 || pipe(ends) != 0) {
    throw Trouble{Exit::harness, fmt::format("cannot start a worker: {}", std::strerror(errno))};
  }
  line_.clear();
  std::fflush(nullptr);
  const pid_t pid = fork();
  if (pid < 0) throw Trouble{Exit::harness, fmt::format("cannot start a worker: {}", std::strerror(errno))};
  if (pid == 0) be_worker(index, ends[1], job.words, aftermath);
  setpgid(pid, pid);  // here too: whoever is first
  close(ends[1]);
  job = {.pid = pid,
         .messages = ends[0],
         .words = job.words,
         .partial = {},
         .verdict = {},
         .pulse = board_.columns[index].pulse.load(relaxed),
         .pulse_at = Clock::now()};
}

// A process group of its own: Ctrl-C reaches only the watcher, and a kill reaches the sandboxes of the worker, too.
void Watcher::be_worker(unsigned index, int messages, int words, const std::optional<Death>& aftermath) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (const Job& other : jobs_) {
    if (other.messages >= 0) close(other.messages);
  }
  dup2(words, STDERR_FILENO);
  int code = 0;
  try {
    Worker worker(options_, board_, index, messages, started_);
    if (aftermath) worker.aftermath(*aftermath);
    worker.search();
  } catch (const Trouble& trouble) {
    fmt::print(stderr, "{}\n", trouble.line);
    code = static_cast<int>(Exit::harness);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    code = static_cast<int>(Exit::harness);
  }
  std::fflush(nullptr);
  _exit(code);
}

void Watcher::look_after(unsigned index) {
  Job& job = jobs_[index];
  if (job.pid < 0 || !job.verdict.empty()) return;
  const Column& column = board_.columns[index];
  const auto now = Clock::now();
  if (const std::uint64_t pulse = column.pulse.load(relaxed); pulse != job.pulse) {
    job.pulse = pulse;
    job.pulse_at = now;
  }
  const run::SandboxLimits limits;
  if (now - job.pulse_at > patience(column.phase.load(relaxed)))
    job.verdict = fmt::format("no progress for {} s", patience(column.phase.load(relaxed)).count());
  if (run::resident_bytes(job.pid) > limits.memory_bytes)
    job.verdict = fmt::format("more than {} MiB of memory", limits.memory_bytes >> 20);
  if (!job.verdict.empty()) kill(-job.pid, SIGKILL);
}

// The pipe is closed: the worker is gone, for good or bad.
void Watcher::ended(unsigned index) {
  Job& job = jobs_[index];
  int status = 0;
  waitpid(job.pid, &status, 0);
  close(job.messages);
  job.messages = -1;
  job.pid = -1;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
  Death death{.run = board_.columns[index].run_index.load(relaxed),
              .phase = board_.columns[index].phase.load(relaxed),
              .words = job.verdict};
  if (death.words.empty())
    death.words = WIFSIGNALED(status) ? fmt::format("SIG{}", sigabbrev_np(WTERMSIG(status)))
                                      : fmt::format("exit code {}", WEXITSTATUS(status));
  const std::string words = last_words(job.words);
  if (WIFEXITED(status) && WEXITSTATUS(status) == static_cast<int>(Exit::harness)) {
    tell(fmt::format("fault in the harness at run {}: {}", death.run, words.substr(0, words.find('\n'))));
    summary_.code = worse(summary_.code, Exit::harness);
    return stop();
  }
  if (interrupts_seen >= 2) return;
  if (death.phase == Phase::aftermath) {  // even the sandboxes did not help
    tell(fmt::format("run {} ended its process twice ({}); memtorture gen --seed {} has it", death.run, death.words,
                     case_seed(options_.seed, death.run)));
    summary_.code = worse(summary_.code, Exit::crash);
    return stopped_ ? void() : start(index, std::nullopt);
  }
  if (++deaths_ <= deaths_told) {
    tell(fmt::format("run {} ended its process ({}); looking into it{}", death.run, death.words,
                     deaths_ == deaths_told ? "; the next ones without a word" : ""));
  }
  start(index, death);
}

// --- what they say ---------------------------------------------------------------------------------------------------

void Watcher::hear(unsigned index) {
  Job& job = jobs_[index];
  char buffer[1 << 14];
  const ssize_t got = read(job.messages, buffer, sizeof buffer);
  if (got < 0 && errno == EINTR) return;
  if (got <= 0) return ended(index);
  job.partial.append(buffer, static_cast<std::size_t>(got));
  for (std::size_t stop = 0; (stop = job.partial.find('\n')) != std::string::npos;) {
    const std::string line = job.partial.substr(0, stop);
    job.partial.erase(0, stop + 1);
    message(line);
  }
}

void Watcher::message(const std::string& line) {
  const auto json = nlohmann::json::parse(line);
  if (const auto spotted = json.find("spotted"); spotted != json.end()) {
    const auto discovery = spotted->get<Discovery>();
    tell(fmt::format("found: {} (run {}, {:.1f} s)", discovery.signature, discovery.run, discovery.seconds));
    if (options_.stop_at_first) stop();
  } else if (const auto saved = json.find("saved"); saved != json.end()) {
    const auto discovery = saved->get<Discovery>();
    tell(fmt::format("saved: {} ({}, {}, {}{})", discovery.path, counted(discovery.operations, "operation"),
                     counted(discovery.faults, "fault"), counted(discovery.departures, "departure"),
                     discovery.reproduced ? "" : "; NOT seen again when run alone"));
    const auto verdict = std::ranges::find(program::verdict_names, discovery.verdict);
    summary_.code =
        worse(summary_.code, exit_of(static_cast<program::Verdict>(verdict - std::begin(program::verdict_names))));
    if (!discovery.reproduced) summary_.code = worse(summary_.code, Exit::nondeterministic);
    summary_.findings.push_back(discovery);
  } else {  // the finding could not be saved: then at least it is shown
    tell(json.at("lost").get<std::string>());
    fmt::print(stderr, "{}", json.at("case").get<std::string>());
    summary_.code = worse(summary_.code, Exit::io);
    stop();
  }
}

void Watcher::tell(std::string_view text) {
  line_.clear();
  say(text);
}

// --- time ------------------------------------------------------------------------------------------------------------

void Watcher::stop() {
  if (stopped_) return;
  stopped_ = Clock::now();
  board_.stop_search = true;
}

void Watcher::consider_stopping() {
  if (interrupted()) {
    stop();
    board_.stop_shrink = true;
  }
  if (options_.seconds != 0 && seconds() >= options_.seconds) stop();
  if (!stopped_) return;
  const double since = std::chrono::duration<double>(Clock::now() - *stopped_).count();
  if (since > shrink_grace_seconds) board_.stop_shrink = true;
  if (since <= end_grace_seconds && interrupts_seen < 2) return;
  for (Job& job : jobs_) {
    if (job.pid > 0) kill(-job.pid, SIGKILL);
  }
}

void Watcher::show() {
  if (!line_.live()) return;
  std::uint64_t runs = 0, operations = 0, faults = 0;
  for (const Column& column : board_.columns) {
    runs += column.runs.load(relaxed);
    operations += column.operations.load(relaxed);
    faults += column.faults.load(relaxed);
  }
  const double passed = std::max(seconds(), 0.001);
  line_.show(fmt::format("{:.0f} s  {} runs  {} operations  {}/s  {} faults  {}{}", passed, grouped(runs),
                         grouped(operations),
                         grouped(static_cast<std::uint64_t>(static_cast<double>(operations) / passed)), grouped(faults),
                         counted(summary_.findings.size(), "finding"), stopped_ ? "  shrinking ..." : ""));
}

}  // namespace memtorture::cli
