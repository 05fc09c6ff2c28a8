// What every front end does with a bug: keep it first, make it small, keep that too.
//
// save() writes the unshrunk reproducer to disk before anything else happens (a file under a temporary name, synced,
// then renamed: nobody ever sees half a case, and a crash of the shrinker loses nothing), then its report with the
// history of one more run, and then shrinks it and replaces both. Bugs with the same signature share one file: the
// smaller one stays.
#pragma once

#include <expected>
#include <filesystem>
#include <string>

#include "model/shrink/shrink.h"

namespace memtorture::shrink {

struct Found {
  std::filesystem::path path;  // DIR/<verdict>-<rule>-<hash of the signature>.case, report and history beside it: .txt
  std::string signature;
  Result result;
  bool is_new = true;  // no file of that signature was there
};

// the_case is completed with the outcome's departures and expectation. The error is one line: what, where, what to do.
std::expected<Found, std::string> save(const std::filesystem::path& directory, program::Case the_case,
                                       const run::Outcome& outcome, const Judge& judge, const Options& options = {});

// The case of an outcome: departures taken, sorted; expectation = what happened.
program::Case reproducer(program::Case the_case, const run::Outcome& outcome);

// Report and history of a case that was saved as PATH.case: PATH.txt.
std::expected<void, std::string> write_report(const std::filesystem::path& case_path, const program::Case& the_case,
                                              const run::Outcome& outcome);

// Writes text to a file so that it is there whole or not at all.
std::expected<void, std::string> write_atomically(const std::filesystem::path& path, std::string_view text);

}  // namespace memtorture::shrink
