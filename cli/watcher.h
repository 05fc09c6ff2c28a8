// Keeps workers going until the search is over: starts them, hears what they find, ends those that hang or eat memory,
// starts another one where one has died, shows how it goes.
//
// The watcher never runs a subject itself, so whatever a subject does, the summary comes.
#pragma once

#include <sys/types.h>

#include <optional>

#include "cli/io.h"
#include "cli/search.h"
#include "cli/worker.h"

namespace memtorture::cli {

class Watcher {
 public:
  Watcher(const SearchOptions& options, Board& board);
  ~Watcher();
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;

  Summary watch();

 private:
  struct Job {
    pid_t pid = -1;       // -1: nobody at work
    int messages = -1;    // our end of its pipe
    int words = -1;       // its standard error
    std::string partial;  // of a message
    std::string verdict;  // why we ended it, or empty
    std::uint64_t pulse = 0;
    Clock::time_point pulse_at;
  };

  void start(unsigned job, const std::optional<Death>& aftermath);
  [[noreturn]] void be_worker(unsigned job, int messages, int words, const std::optional<Death>& aftermath);
  void hear(unsigned job);
  void message(const std::string& line);
  void ended(unsigned job);
  void look_after(unsigned job);
  void consider_stopping();
  void stop();
  void show();
  void tell(std::string_view line);
  bool anybody() const;
  double seconds() const { return std::chrono::duration<double>(Clock::now() - started_).count(); }

  const SearchOptions& options_;
  Board& board_;
  std::vector<Job> jobs_;
  Clock::time_point started_ = Clock::now();
  std::optional<Clock::time_point> stopped_;
  std::uint64_t deaths_ = 0;
  Summary summary_;
  LiveLine line_;
};

}  // namespace memtorture::cli
