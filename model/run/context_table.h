// Which function may be called where (domain.md 1.2, 1.6, 21.3): every operation of the language in every context, what
// has to come of it, and a case for each cell that shows it.
//
// A function that may sleep is reported wherever sleeping is forbidden, also when it would not have slept. So the cases
// do not make memory short: they only call. A new operation joins by a row here that says what it may do; a test says
// which one is missing, runs every cell, and keeps the table in model/README.md equal to this one.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "model/program/case.h"

namespace memtorture::run {

enum class Place : std::uint8_t {
  process,
  mutex,        // held
  preempt_off,  //
  read_side,    // classic: as preempt_off
  spinlock,     // held
  bh_off,       //
  irqs_off,     //
  softirq,
  hardirq,
  nmi,
};
inline constexpr unsigned places = static_cast<unsigned>(Place::nmi) + 1;
std::string_view place_name(Place place);

// What must come of a call.
enum class Answer : std::uint8_t {
  legal,   // Y
  report,  // R: crime sleep-in-atomic: the might_sleep report, and the call proceeds
  bug,     // B: another crime of the caller's, whatever it is called
};
char letter(Answer answer);

struct CallRow {
  std::string_view function;  // as in the table of the README
  std::string_view setup;     // operations before it, in process context; "; " between them
  std::string_view call;      // the operation, and what undoes it
  std::array<Answer, places> answers;
  std::string_view beside = {};  // a program without which the call would not come to its end
};
std::span<const CallRow> call_table();

Answer answer(const CallRow& row, Place place);
std::string cell_text(const CallRow& row, Place place);  // a case file, with its expectation
std::string call_table_text();                           // the block of model/README.md

}  // namespace memtorture::run
