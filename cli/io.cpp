#include "cli/io.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include <fmt/format.h>

#include "model/program/codec.h"
#include "model/program/text.h"
#include "model/shrink/found.h"

namespace memtorture::cli {
namespace fs = std::filesystem;

namespace {

[[noreturn]] void io_trouble(std::string_view path, std::string_view what, int error) {
  throw Trouble{Exit::io, fmt::format("{}: {}: {}", path, what, std::strerror(error))};
}

void write_all(int fd, std::string_view path, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) io_trouble(path, "cannot write", errno);
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

// A device or a pipe: there is nothing to replace, so it is written to.
void write_through(const std::string& path, std::string_view text) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) io_trouble(path, "cannot write", errno);
  try {
    write_all(fd, path, text);
  } catch (...) {
    ::close(fd);
    throw;
  }
  if (::close(fd) != 0) io_trouble(path, "cannot write", errno);
}

void add_folder(const fs::path& folder, std::vector<std::string>& found) {
  std::error_code error;
  const std::size_t before = found.size();
  for (fs::recursive_directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    std::error_code ignored;
    if (at->path().extension() == ".case" && !at->is_directory(ignored)) found.push_back(at->path().string());
  }
  if (error) throw Trouble{Exit::io, fmt::format("{}: cannot read the folder: {}", folder.string(), error.message())};
  if (found.size() == before)
    throw Trouble{Exit::usage, fmt::format("{}: no *.case files in this folder", folder.string())};
  std::sort(found.begin() + static_cast<std::ptrdiff_t>(before), found.end());
}

}  // namespace

std::string read_file(const std::string& path) {
  const int fd = path == "-" ? STDIN_FILENO : ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) io_trouble(path, "cannot read", errno);
  std::string content;
  char buffer[1 << 16];
  ssize_t got = 0;
  while ((got = ::read(fd, buffer, sizeof buffer)) > 0) content.append(buffer, static_cast<std::size_t>(got));
  const int error = errno;
  if (fd != STDIN_FILENO) ::close(fd);
  if (got < 0) io_trouble(path, "cannot read", error);
  return content;
}

void write_file(const std::string& path, std::string_view text) {
  if (path == "-") return print(text);
  std::error_code ignored;
  if (fs::exists(path, ignored) && !fs::is_regular_file(path, ignored)) return write_through(path, text);
  if (auto written = shrink::write_atomically(path, text); !written) throw Trouble{Exit::io, written.error()};
}

void make_folder(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error)
    throw Trouble{Exit::io,
                  fmt::format("{}: cannot create the folder: {}; choose another --out", path, error.message())};
}

void print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size())
    io_trouble("standard output", "cannot write", errno);
}

void flush_output() {
  if (std::fflush(stdout) != 0) io_trouble("standard output", "cannot write", errno);
}

void say(std::string_view line) { fmt::print(stderr, "memtorture: {}\n", line); }

std::vector<std::string> find_cases(const std::vector<std::string>& paths) {
  std::vector<std::string> found;
  for (const std::string& path : paths) {
    std::error_code ignored;
    if (fs::is_directory(path, ignored)) {
      add_folder(path, found);
    } else {
      found.push_back(path);
    }
  }
  return found;
}

// A file that a person wrote has no control characters; a comment or a blank line before the first word does not make
// it bytes. What looks like text but is none gets the parser's error.
bool is_case_text(std::string_view content) {
  constexpr std::size_t looked_at = 256;
  if (content.starts_with("memtorture")) return true;
  const std::string_view head = content.substr(0, looked_at);
  return !head.empty() && std::ranges::all_of(head, [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte >= 0x20 && byte < 0x7f) || c == '\n' || c == '\t' || c == '\r';
  });
}

program::Case read_case(const std::string& path) {
  const std::string content = read_file(path);
  if (!is_case_text(content)) {
    return program::decode({reinterpret_cast<const std::uint8_t*>(content.data()), content.size()});
  }
  auto parsed = program::parse(content);
  if (!parsed) throw Trouble{Exit::usage, parsed.error().message(path)};
  return std::move(*parsed);
}

LiveLine::LiveLine() : live_(::isatty(STDERR_FILENO) == 1) {}

void LiveLine::show(std::string_view line) {
  if (!live_) return;
  winsize window{};
  const std::size_t width =
      ::ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 1 ? window.ws_col - 1u : 79;
  fmt::print(stderr, "\r\x1b[K{}", line.substr(0, width));
  std::fflush(stderr);
  shown_ = true;
}

void LiveLine::clear() {
  if (shown_) fmt::print(stderr, "\r\x1b[K");
  shown_ = false;
}

std::string columns(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i != row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows) {
    for (std::size_t i = 0; i != row.size(); ++i) text += fmt::format("{:<{}}", row[i], widths[i] + 2);
    text.erase(text.find_last_not_of(' ') + 1);
    text += '\n';
  }
  return text;
}

std::string grouped(std::uint64_t number) {
  std::string digits = fmt::format("{}", number);
  for (std::size_t at = digits.size(); at > 3;) digits.insert(at -= 3, ",");
  return digits;
}

std::string counted(std::uint64_t number, std::string_view noun) {
  return fmt::format("{} {}{}", grouped(number), noun, number == 1 ? "" : "s");
}

}  // namespace memtorture::cli
