// memtorture shrink: the smallest case that still shows the same bug.
//
// A candidate of a broken subject may well crash although the case itself did not. So the work is done in a child; when
// that dies, it is done again with every candidate in a sandbox: slower, and nothing can kill it.
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>

#include "cli/command.h"
#include "cli/io.h"
#include "cli/judging.h"
#include "cli/signals.h"
#include "model/program/text.h"
#include "model/shrink/found.h"

namespace memtorture::cli {
namespace {

using program::Verdict;

struct Options {
  std::string file, out;
  std::uint32_t audit_every = run::audit_at_end;
  std::uint64_t runs = 20'000;
  bool sandbox = false;
};

struct Job {
  const Options& options;
  program::Case the_case;
  run::Outcome outcome;
  shrink::Progress before;
};

// Returns an exit code: this is the body of the child, too.
Exit shrink_with(const Job& job, const shrink::Judge& judge) {
  LiveLine line;
  const auto progress = [&](const shrink::Progress& now) {
    line.show(
        fmt::format("shrinking: {} -> {} in {}", size_words(job.before), size_words(now), counted(now.runs, "run")));
  };
  const shrink::Options options{.runs_budget = job.options.runs, .progress = progress, .stop = interrupted};
  const shrink::Result result = shrink::shrink(job.the_case, job.outcome, judge, options);
  line.clear();
  if (!result.reproduced && !interrupted())
    throw Trouble{Exit::nondeterministic,
                  fmt::format("{}: the second run did not show the bug again", job.options.file)};
  write_file(job.options.out, program::print(result.smallest));
  if (job.options.out.ends_with(".case")) {
    if (auto written = shrink::write_report(job.options.out, result.smallest, result.outcome); !written)
      throw Trouble{Exit::io, written.error()};
  }
  flush_output();
  say(fmt::format("{}: {} -> {} in {}, wrote {}", verdict_words(result.outcome), size_words(job.before),
                  size_words(shrink::measure(result.smallest)), counted(result.runs, "run"), job.options.out));
  return interrupted() ? Exit::interrupted : Exit::ok;
}

// The child's exit code, or nothing when it died. Sanitizers end a process with small codes of their own, so those of
// the child are marked.
std::optional<Exit> shrink_in_child(const Job& job) {
  constexpr int mark = 128, was_interrupted = 127;
  std::fflush(nullptr);
  const pid_t pid = fork();
  if (pid == 0) {
    Exit code = Exit::harness;
    try {
      code = shrink_with(
          job, judge_here({.audit_every = job.options.audit_every}, run::signature(job.the_case, job.outcome)));
    } catch (const Trouble& trouble) {
      say(trouble.line);
      code = trouble.code;
    }
    _exit(mark + (code == Exit::interrupted ? was_interrupted : static_cast<int>(code)));
  }
  int status = 0;
  if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) < mark)
    return std::nullopt;
  const int code = WEXITSTATUS(status) - mark;
  return code == was_interrupted ? Exit::interrupted : static_cast<Exit>(code);
}

Exit act(const Options& options) {
  catch_interrupts();
  const program::Case the_case = read_case(options.file);
  const run::Options run_options{.audit_every = options.audit_every};
  run::Outcome outcome = look(the_case, run_options);
  if (outcome.verdict == Verdict::pass || outcome.verdict == Verdict::drifted) {
    throw Trouble{Exit::finding,
                  fmt::format("{}: nothing to shrink: its verdict is {}", options.file, verdict_words(outcome))};
  }
  const Job job{options, shrink::reproducer(the_case, outcome), std::move(outcome), shrink::measure(the_case)};
  if (!options.sandbox && !is_death(job.outcome.verdict)) {
    if (const auto code = shrink_in_child(job)) return *code;
    say("a candidate killed the subject; starting over with each candidate in a sandbox");
  }
  return shrink_with(job, judge_sandboxed(run_options));
}

}  // namespace

void add_shrink(Command& command) {
  CLI::App& verb = *command.app.add_subcommand("shrink", "Make a case smaller while it shows the same bug");
  auto options = std::make_shared<Options>();
  verb.add_option("FILE", options->file, "A case, or raw fuzz bytes; - is standard input")
      ->required()
      ->type_name("FILE");
  verb.add_option("-o,--out", options->out, "Where to write the smaller case; - is standard output")
      ->required()
      ->type_name("FILE");
  add_number(verb, "--runs", options->runs, {.least = 1}, "Give up after that many runs").capture_default_str();
  verb.add_flag("--sandbox", options->sandbox,
                "Each candidate in a process of its own; automatic when the subject dies");
  add_audit(verb, options->audit_every);
  verb.footer(
      "Operations go first, then faults, then the schedule, then values get simpler. A candidate is accepted only\n"
      "if its bug has the same signature. Ctrl-C writes the smallest case so far. Report and history are written\n"
      "beside FILE.case, as FILE.txt.\n\n"
      "Examples:\n"
      "  memtorture shrink big.case -o small.case\n"
      "  memtorture shrink crash-0123abcd -o small.case\n");
  on_chosen(command, verb, options, act);
}

}  // namespace memtorture::cli
