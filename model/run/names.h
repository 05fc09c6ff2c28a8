// Names for what a history and a report talk about: frames as zone/frame, contexts by program, operations as text.
#pragma once

#include <string>

#include "model/run/outcome.h"

namespace memtorture::run {

std::string frame_name(const machine::Shape& shape, machine::Pfn pfn);  // "Normal/0x1a3"; "nowhere/0x.." outside RAM
std::string context_name(const Case& the_case, ContextId who);          // "a", "kswapd0", "harness"
std::string operation_text(const Case& the_case, ContextId who, std::uint32_t op);

}  // namespace memtorture::run
