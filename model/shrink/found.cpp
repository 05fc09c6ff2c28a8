#include "model/shrink/found.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include <fmt/format.h>

#include "model/program/edits.h"
#include "model/program/text.h"

namespace memtorture::shrink {

using program::Case;
using run::Outcome;

Case reproducer(Case the_case, const Outcome& outcome) {
  // A subject that died took its list of departures with it: then the ones it was given stay.
  const bool lost = outcome.verdict == run::Verdict::crash || outcome.verdict == run::Verdict::hang ||
                    outcome.verdict == run::Verdict::out_of_memory;
  if (!lost) the_case.departures = outcome.departures;
  program::sort_departures(the_case);
  the_case.expect = {.verdict = outcome.verdict, .rule = std::string(outcome.finding.rule)};
  return the_case;
}

std::expected<void, std::string> write_atomically(const std::filesystem::path& path, std::string_view text) {
  const std::filesystem::path temporary = path.string() + fmt::format(".{}.tmp", getpid());
  const auto failed = [&](const char* what) -> std::unexpected<std::string> {
    const int error = errno;
    unlink(temporary.c_str());
    return std::unexpected(
        fmt::format("{}: {} ({}); free some space or choose another --out", path.string(), what, std::strerror(error)));
  };
  const int fd = open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return failed("cannot create");
  std::string_view rest = text;
  bool good = true;
  while (good && !rest.empty()) {
    const ssize_t written = write(fd, rest.data(), rest.size());
    good = written > 0;
    if (good) rest.remove_prefix(static_cast<std::size_t>(written));
  }
  good = good && fsync(fd) == 0;
  const int error = errno;
  good = close(fd) == 0 && good;
  if (!good) {
    errno = error;
    return failed("cannot write");
  }
  if (rename(temporary.c_str(), path.c_str()) != 0) return failed("cannot rename");
  return {};
}

namespace {

std::uint32_t hash_of(std::string_view text) {  // FNV-1a: only to keep file names apart
  std::uint32_t hash = 2166136261u;
  for (const char c : text) hash = (hash ^ static_cast<std::uint8_t>(c)) * 16777619u;
  return hash;
}

std::filesystem::path path_of(const std::filesystem::path& directory, const Outcome& outcome,
                              std::string_view signature) {
  const std::string_view verdict = program::verdict_names[static_cast<unsigned>(outcome.verdict)];
  const std::string_view rule = outcome.finding.rule;
  return directory / fmt::format("{}{}{}-{:08x}.case", verdict, rule.empty() ? "" : "-", rule, hash_of(signature));
}

std::filesystem::path report_path(std::filesystem::path case_path) { return case_path.replace_extension(".txt"); }

std::size_t size_on_disk(const std::filesystem::path& path) {
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  return error ? 0 : size;
}

}  // namespace

std::expected<void, std::string> write_report(const std::filesystem::path& case_path, const Case& the_case,
                                              const Outcome& outcome) {
  constexpr std::size_t events_told_max = 20'000;  // of a livelock the end will do
  const std::vector<run::Event>& history = outcome.history;
  std::string text = run::print_report(the_case, outcome);
  if (history.size() > events_told_max) {
    text += fmt::format("The last {} of {} events:\n", events_told_max, history.size());
    text += run::print_history(the_case, {history.end() - events_told_max, history.end()});
  } else {
    text += run::print_history(the_case, history);
  }
  return write_atomically(report_path(case_path), text);
}

std::expected<Found, std::string> save(const std::filesystem::path& directory, Case the_case, const Outcome& outcome,
                                       const Judge& judge, const Options& options) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error)
    return std::unexpected(
        fmt::format("{}: cannot create the folder ({}); choose another --out", directory.string(), error.message()));
  the_case = reproducer(std::move(the_case), outcome);
  Found found{.path = {}, .signature = run::signature(the_case, outcome), .result = {}};
  found.path = path_of(directory, outcome, found.signature);
  const std::size_t size_before = size_on_disk(found.path);
  found.is_new = size_before == 0;
  if (found.is_new) {
    if (auto written = write_atomically(found.path, program::print(the_case)); !written)
      return std::unexpected(written.error());
    const Outcome again = judge(the_case, run::Keep::history);
    const bool is_same = run::signature(the_case, again) == found.signature;
    if (auto written = write_report(found.path, the_case, is_same ? again : outcome); !written)
      return std::unexpected(written.error());
  }
  found.result = shrink(the_case, outcome, judge, options);
  const std::string small = program::print(found.result.smallest);
  if (found.is_new || small.size() < size_before || size_on_disk(report_path(found.path)) == 0) {
    if (auto written = write_atomically(found.path, small); !written) return std::unexpected(written.error());
    if (auto written = write_report(found.path, found.result.smallest, found.result.outcome); !written)
      return std::unexpected(written.error());
  }
  return found;
}

}  // namespace memtorture::shrink
