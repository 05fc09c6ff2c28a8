// Files, standard output and the terminal. Every write is checked: a full disk or a closed descriptor is one line and
// an exit code, never a silent success.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "cli/exit.h"

namespace memtorture::cli {

// "-" is standard input. Throws Trouble.
std::string read_file(const std::string& path);

// "-" is standard output. A regular file is replaced as a whole or not at all; anything else (a pipe, a device) is
// written to. Throws Trouble.
void write_file(const std::string& path, std::string_view text);

// A folder for results, with all above it. Throws Trouble.
void make_folder(const std::string& path);

// Standard output. flush_output() is called once by main, so that a late failure is not lost either. Both throw
// Trouble.
void print(std::string_view text);
void flush_output();

// One line on stderr: "memtorture: ...".
void say(std::string_view line);

// The cases that paths name: files as given, folders searched for *.case, in the order of their names. Throws Trouble.
std::vector<std::string> find_cases(const std::vector<std::string>& paths);

// A case file as text, or, when it does not begin like one, as raw fuzz bytes. Throws Trouble.
program::Case read_case(const std::string& path);
bool is_case_text(std::string_view content);

// A line on stderr that is rewritten in place. Does nothing when stderr is no terminal.
class LiveLine {
 public:
  LiveLine();
  ~LiveLine() { clear(); }
  LiveLine(const LiveLine&) = delete;
  LiveLine& operator=(const LiveLine&) = delete;
  bool live() const { return live_; }
  void show(std::string_view line);
  void clear();

 private:
  bool live_;
  bool shown_ = false;
};

// Rows as aligned columns, two blanks between them, no trailing blanks. The first row is the heading.
std::string columns(const std::vector<std::vector<std::string>>& rows);

std::string grouped(std::uint64_t number);                         // 1234567 -> "1,234,567"
std::string counted(std::uint64_t number, std::string_view noun);  // "1 run", "2 runs"

}  // namespace memtorture::cli
