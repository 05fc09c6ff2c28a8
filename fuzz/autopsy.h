// From the raw input of a crash to a shrunk case, without a person.
//
// An input that kills the fuzzer (signal, sanitizer report, time limit) leaves only its bytes; the departures that the
// dice took are lost with the process, and they are part of the bug. So the input is run once more in a child that
// tells every departure before it takes it (record_schedule). Bytes, seed and subject are the same, so the child dies
// in the same place; what the parent reads is the schedule up to the last step. From there on it is a case like any
// other, judged in the sandbox (model/run/sandbox.h) and saved by model/shrink.
//
// Works for inputs of findings too: they give the same reproducer as the fuzzer saved.
#pragma once

#include <cstdint>
#include <expected>
#include <filesystem>
#include <optional>
#include <span>
#include <string>

#include "fuzz/case_target.h"
#include "model/run/sandbox.h"
#include "model/shrink/found.h"

namespace memtorture::fuzz {

// The decoded case with the departures that the target took on these bytes, up to its death if it died.
program::Case case_with_departures(std::span<const std::uint8_t> bytes, Scope scope,
                                   const run::SandboxLimits& limits = {});

// Nothing: the input passes. The error is one line.
std::expected<std::optional<shrink::Found>, std::string> autopsy(std::span<const std::uint8_t> bytes, Scope scope,
                                                                 const std::filesystem::path& found,
                                                                 const run::SandboxLimits& limits = {});

}  // namespace memtorture::fuzz
