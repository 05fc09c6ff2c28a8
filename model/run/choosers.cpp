#include "model/run/choosers.h"

#include <algorithm>

namespace memtorture::run {

using machine::Departure;
using machine::Moment;
using machine::Option;

namespace {

// The count of visits stops here (machine::Context): a departure at a later visit could not be written down.
constexpr std::uint16_t visits_told_apart = 0xffff;

// Points inside of an allocator, and those of them where a lock is about to be taken. Who departs only there lets
// others run until they are inside, too: that is how two come to meet at one list.
constexpr std::uint64_t sites_where(auto&& chosen) {
  std::uint64_t sites = 0;
  for (unsigned i = 0; i != machine::site_count; ++i)
    sites |= chosen(machine::site_table[i].name) ? std::uint64_t{1} << i : 0;
  return sites;
}
constexpr std::uint64_t sites_inside = sites_where([](std::string_view name) {
  constexpr std::string_view layers[] = {"k12.", "mempool.", "page.", "pcp.", "percpu.", "slab.", "zone."};
  return std::ranges::any_of(layers, [name](std::string_view layer) { return name.starts_with(layer); });
});
constexpr std::uint64_t sites_of_locks = sites_where([](std::string_view name) { return name.ends_with(".lock"); });
static_assert((sites_inside & sites_of_locks) == sites_of_locks && sites_of_locks != 0);

// A die that depends on where it is thrown and on nothing else.
std::uint64_t luck(const Moment& moment) {
  const std::uint64_t where = (std::uint64_t{moment.who} << 48) ^ (std::uint64_t{moment.op} << 16) ^
                              (std::uint64_t{moment.site.index()} << 8) ^ moment.visit;
  return program::Random(where).next();
}

}  // namespace

ReplayChooser::ReplayChooser(std::span<const Departure> schedule) : schedule_(schedule), taken_(schedule.size()) {}

void ReplayChooser::restart() { std::ranges::fill(taken_, 0); }

std::size_t ReplayChooser::find(const Moment& moment) const {
  auto at = std::ranges::lower_bound(schedule_, moment, {}, &Departure::at) - schedule_.begin();
  const auto size = static_cast<std::ptrdiff_t>(schedule_.size());
  for (; at != size && schedule_[static_cast<std::size_t>(at)].at == moment; ++at) {
    if (!taken_[static_cast<std::size_t>(at)]) return static_cast<std::size_t>(at);
  }
  return schedule_.size();
}

std::uint32_t ReplayChooser::choose(const Moment& moment, std::span<const Option> options) {
  const std::size_t index = find(moment);
  if (index == schedule_.size()) return 0;
  const auto option = std::ranges::find(options, schedule_[index].take);
  if (option == options.end()) return 0;  // not possible here and now: stays missed
  taken_[index] = 1;
  return static_cast<std::uint32_t>(option - options.begin());
}

bool ReplayChooser::roll(const Moment& moment, std::uint32_t percent) { return luck(moment) % 100 < percent; }

std::int64_t ReplayChooser::first_missed() const {
  const auto missed = std::ranges::find(taken_, 0);
  return missed == taken_.end() ? -1 : missed - taken_.begin();
}

RandomChooser::RandomChooser(std::uint64_t seed, RandomRates rates, std::span<const Departure> schedule)
    : seed_(seed), rates_(rates), random_(seed), schedule_(schedule) {
  restart();
}

RandomRates RandomChooser::swarm_rates(std::uint64_t seed) {
  program::Random random(seed ^ 0x5eed);
  constexpr std::uint32_t switches[] = {0, 5, 20, 60, 150, 400};
  constexpr std::uint32_t faults[] = {0, 0, 0, 10, 50, 200};
  constexpr std::uint64_t everywhere = ~std::uint64_t{0};
  constexpr std::uint64_t sites[] = {everywhere, everywhere, everywhere, everywhere, sites_inside, sites_of_locks};
  return {.switch_permille = switches[random.below(std::size(switches))],
          .fault_permille = faults[random.below(std::size(faults))],
          .migrations = random.percent(60),
          .sites = sites[random.below(std::size(sites))]};
}

void RandomChooser::restart() {
  random_ = program::Random(seed_);
  schedule_.restart();
  quiet_points_ = points_until(rates_.switch_permille);
  quiet_faults_ = points_until(rates_.fault_permille);
}

std::uint32_t RandomChooser::points_until(std::uint32_t permille) {
  if (permille == 0) return ~std::uint32_t{0};
  return random_.below(2000 / permille);  // mean 1000 / permille
}

bool RandomChooser::interested(const Moment& moment) {
  scheduled_ = schedule_.interested(moment);
  if (scheduled_) return true;
  if (moment.visit >= visits_told_apart) return false;
  const bool fault = moment.site.is_fault();
  if (!fault && (rates_.sites >> moment.site.index() & 1) == 0) return false;
  std::uint32_t& quiet = fault ? quiet_faults_ : quiet_points_;
  if (quiet != 0) {
    if (quiet != ~std::uint32_t{0}) --quiet;
    return false;
  }
  quiet = points_until(fault ? rates_.fault_permille : rates_.switch_permille);
  return true;
}

std::uint32_t RandomChooser::choose(const Moment& moment, std::span<const Option> options) {
  if (scheduled_) return schedule_.choose(moment, options);
  if (machine::is_failure(options[1].move)) return options.size() > 2 && random_.percent(8) ? 2 : 1;
  const auto wanted = [this](const Option& option) {
    return rates_.migrations || option.move != machine::Move::migrate;
  };
  const auto others = options.subspan(1);
  auto left = random_.below(static_cast<std::uint32_t>(std::ranges::count_if(others, wanted)));
  for (std::uint32_t i = 0; i != others.size(); ++i) {
    if (wanted(others[i]) && left-- == 0) return 1 + i;
  }
  return 0;
}

bool RandomChooser::roll(const Moment& moment, std::uint32_t percent) { return schedule_.roll(moment, percent); }

}  // namespace memtorture::run
