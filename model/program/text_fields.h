// How each field type is written and read (fields.h): one pair of functions per type, none per operation.
#pragma once

#include <string>
#include <unordered_map>

#include "model/program/op_table.h"
#include "model/program/scanner.h"

namespace memtorture::program {

// Slot names while a text is read. A slot begins to exist when it is first named, so slots are numbered in the order of
// first use, which is the normal form (legal.h).
class SlotTable {
 public:
  explicit SlotTable(std::vector<std::string>& names) : names_(names) {}
  Slot slot(Scanner& scanner, const Token& token);  // the slot of that name; refuses what is no name, and one too many

 private:
  std::vector<std::string>& names_;
  std::unordered_map<std::string, Slot> slots_;
};

// The fields after the operation's name. Out is written before the '=' and is not touched here.
void read_fields(Scanner& scanner, SlotTable& slots, Op& op);
void write_fields(std::string& text, const Op& op, const Case& names);

subject::gfp_t read_gfp(Scanner& scanner);
subject::slab_flags_t read_slab_flags(Scanner& scanner);
std::string print_slab_flags(subject::slab_flags_t flags);

}  // namespace memtorture::program
