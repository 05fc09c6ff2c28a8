// Ctrl-C as a flag that is asked, so that whoever is at work ends at a place of its own choice and tells what it has.
#pragma once

#include <csignal>

namespace memtorture::cli {

inline volatile std::sig_atomic_t interrupts_seen = 0;  // a handler has nowhere else to write to

// From now on SIGINT and SIGTERM only count. The third one kills as usual.
inline void catch_interrupts() {
  struct sigaction action{};
  action.sa_handler = [](int number) {
    interrupts_seen = interrupts_seen + 1;
    if (interrupts_seen >= 2) std::signal(number, SIG_DFL);
  };
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}
inline bool interrupted() { return interrupts_seen != 0; }

}  // namespace memtorture::cli
