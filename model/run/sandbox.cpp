#include "model/run/sandbox.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <optional>
#include <string>
#include <type_traits>

#include "model/run/shared_log.h"

namespace memtorture::run {
namespace {

// --- the outcome on its way through the pipe -------------------------------------------------------------------------

class Packer {
 public:
  template <class T>
    requires std::is_trivially_copyable_v<T>
  void put(const T& value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void put(std::string_view text) {
    put(static_cast<std::uint32_t>(text.size()));
    bytes_.append(text);
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

class Unpacker {
 public:
  explicit Unpacker(std::string_view bytes) : bytes_(bytes) {}
  template <class T>
    requires std::is_trivially_copyable_v<T>
  T get() {
    T value{};
    if (bytes_.size() < sizeof value) {
      complete_ = false;
      bytes_ = {};
      return value;
    }
    std::memcpy(&value, bytes_.data(), sizeof value);
    bytes_.remove_prefix(sizeof value);
    return value;
  }
  std::string text() {
    const auto size = get<std::uint32_t>();
    complete_ = complete_ && size <= bytes_.size();
    std::string result(bytes_.substr(0, size));
    bytes_.remove_prefix(result.size());
    return result;
  }
  bool complete() const { return complete_; }

 private:
  std::string_view bytes_;
  bool complete_ = true;
};

constexpr std::uint32_t end_mark = 0x6d74'6f6b;  // the child got as far as this

std::string pack(const Outcome& outcome) {
  Packer packer;
  packer.put(outcome.verdict);
  packer.put(outcome.finding.rule);
  packer.put(outcome.finding.who);
  packer.put(outcome.finding.op);
  packer.put(outcome.finding.pfn);
  packer.put(std::string_view(outcome.finding.detail));
  packer.put(outcome.statistics);
  packer.put(outcome.drifted_at);
  packer.put(static_cast<std::uint32_t>(outcome.departures.size()));
  for (const auto& departure : outcome.departures) packer.put(departure);
  packer.put(end_mark);
  return packer.bytes();
}

std::string_view rule_named(std::string_view id) {
  for (const auto& row : oracle::rule_table()) {
    if (row.id == id) return row.id;
  }
  return {};
}

bool unpack(std::string_view bytes, Outcome& outcome) {
  Unpacker unpacker(bytes);
  outcome.verdict = unpacker.get<Verdict>();
  outcome.finding.rule = rule_named(unpacker.text());
  outcome.finding.who = unpacker.get<ContextId>();
  outcome.finding.op = unpacker.get<std::uint32_t>();
  outcome.finding.pfn = unpacker.get<machine::Pfn>();
  outcome.finding.detail = unpacker.text();
  outcome.statistics = unpacker.get<Statistics>();
  outcome.drifted_at = unpacker.get<std::int64_t>();
  const auto departures = unpacker.get<std::uint32_t>();
  for (std::uint32_t i = 0; i != departures && unpacker.complete(); ++i)
    outcome.departures.push_back(unpacker.get<machine::Departure>());
  return unpacker.get<std::uint32_t>() == end_mark && unpacker.complete();
}

// --- parent and child ------------------------------------------------------------------------------------------------

void write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd, bytes.data(), bytes.size());
    if (written <= 0) return;  // the parent has gone: nobody to tell
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
}

enum class Ending : std::uint8_t { closed, too_long, too_much };

// Reads the pipe until the child closes it or goes over a limit.
Ending listen(pid_t pid, int fd, const SandboxLimits& limits, std::string& bytes) {
  constexpr int slice_ms = 50;
  const std::uint64_t at_start = resident_bytes(pid);
  for (std::uint64_t waited_ms = 0; waited_ms < std::uint64_t{limits.seconds} * 1000;) {
    pollfd poller{.fd = fd, .events = POLLIN, .revents = 0};
    if (poll(&poller, 1, slice_ms) == 0) {
      waited_ms += slice_ms;
      if (resident_bytes(pid) > at_start + limits.memory_bytes) return Ending::too_much;
      continue;
    }
    char buffer[4096];
    const ssize_t got = read(fd, buffer, sizeof buffer);
    if (got <= 0) return Ending::closed;
    bytes.append(buffer, static_cast<std::size_t>(got));
  }
  return Ending::too_long;
}

std::string last_words(int fd) {
  constexpr std::size_t words_max = 16 * 1024;
  std::string words(words_max, '\0');
  const ssize_t got = pread(fd, words.data(), words.size(), 0);
  words.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  return words;
}

Outcome dead(Verdict verdict, std::string detail) {
  Outcome outcome;
  outcome.verdict = verdict;
  outcome.sandbox_detail = std::move(detail);
  return outcome;
}

Outcome post_mortem(Ending ending, int status, const SandboxLimits& limits, std::string words) {
  if (ending == Ending::too_long) return dead(Verdict::hang, "no end within " + std::to_string(limits.seconds) + " s");
  if (ending == Ending::too_much)
    return dead(Verdict::out_of_memory,
                "more than " + std::to_string(limits.memory_bytes >> 20) + " MiB of host memory");
  std::string cause = WIFSIGNALED(status) ? "SIG" + std::string(sigabbrev_np(WTERMSIG(status)))
                                          : "exit code " + std::to_string(WEXITSTATUS(status));
  return dead(Verdict::crash, cause + (words.empty() ? "" : "\n" + words));
}

// A child that runs `body(result_fd)` and ends, one way or another.
struct Ended {
  Ending ending = Ending::closed;
  int status = 0;
  std::string bytes, words;  // what it wrote to result_fd, and to stderr
};

template <class Body>
Ended in_child(const SandboxLimits& limits, Body&& body) {
  int ends[2];
  const int words_fd = memfd_create("memtorture-stderr", MFD_CLOEXEC);
  if (words_fd < 0 || pipe(ends) != 0) {
    std::perror("memtorture: cannot make a sandbox");
    std::abort();
  }
  std::fflush(nullptr);
  const pid_t pid = fork();
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);  // a hang must not outlive the one who waits for it
    close(ends[0]);
    dup2(words_fd, STDERR_FILENO);
    body(ends[1]);
    _exit(0);
  }
  close(ends[1]);
  Ended ended;
  if (pid > 0) {
    ended.ending = listen(pid, ends[0], limits, ended.bytes);
    if (ended.ending != Ending::closed) kill(pid, SIGKILL);
    waitpid(pid, &ended.status, 0);
  }
  ended.words = last_words(words_fd);
  close(ends[0]);
  close(words_fd);
  return ended;
}

class EventLog final : public Listener {
 public:
  void on(const Event& event) override { log_.add(event); }
  std::vector<Event> events() const { return log_.entries(); }

 private:
  SharedLog<Event, 1 << 18> log_;
};

class RecordingChooser final : public machine::Chooser {
 public:
  explicit RecordingChooser(machine::Chooser& chooser) : chooser_(chooser) {}
  std::vector<machine::Departure> departures() const { return log_.entries(); }

  bool may_depart() const override { return chooser_.may_depart(); }
  bool interested(const machine::Moment& moment) override { return chooser_.interested(moment); }
  std::uint32_t choose(const machine::Moment& moment, std::span<const machine::Option> options) override {
    const std::uint32_t choice = chooser_.choose(moment, options);
    if (choice != 0) log_.add({.at = moment, .take = options[choice]});
    return choice;
  }
  bool roll(const machine::Moment& moment, std::uint32_t percent) override { return chooser_.roll(moment, percent); }
  void restart() override { chooser_.restart(); }

 private:
  machine::Chooser& chooser_;
  SharedLog<machine::Departure, 1 << 18> log_;  // more than the points of the usual step budget
};

}  // namespace

std::uint64_t resident_bytes(int pid) {
  std::ifstream statm("/proc/" + std::to_string(pid) + "/statm");
  std::uint64_t total = 0, resident = 0;
  statm >> total >> resident;
  return resident * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

Outcome replay_sandboxed(const Case& the_case, const Options& options, const SandboxLimits& limits,
                         MakeSubject make_subject) {
  std::optional<EventLog> log;
  Options inside = options;
  if (options.keep == Keep::history) inside.listener = &log.emplace();
  Ended ended = in_child(limits, [&](int result_fd) {
    Runner runner(make_subject());
    write_all(result_fd, pack(runner.replay(the_case, inside)));
  });
  Outcome outcome;
  const bool finished = ended.ending == Ending::closed && unpack(ended.bytes, outcome);
  if (!finished) outcome = post_mortem(ended.ending, ended.status, limits, std::move(ended.words));
  if (log) outcome.history = log->events();
  return outcome;
}

std::vector<machine::Departure> record_schedule(const Case& the_case, machine::Chooser& chooser, const Options& options,
                                                const SandboxLimits& limits) {
  RecordingChooser recorder(chooser);
  in_child(limits, [&](int) { static_cast<void>(run(the_case, recorder, options)); });
  return recorder.departures();
}

}  // namespace memtorture::run
