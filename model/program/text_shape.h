// The machine line after the word `machine`, as the parser of whole cases needs it. The rest is in text.h.
#pragma once

#include "model/program/scanner.h"

namespace memtorture::program {

machine::Shape read_shape(Scanner& scanner);  // to the end of the line; refuses impossible machines

}  // namespace memtorture::program
