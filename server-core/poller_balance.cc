#include "server-core/poller_balance.h"

#include <algorithm>

namespace vigil::http {
namespace {

bool is_busy(const PollerFigures& figures) {
  return figures.busy >= PollerBalance::kBusy || figures.late >= PollerBalance::kLate;
}

bool is_full(const PollerFigures& figures) {
  return figures.busy >= PollerBalance::kFull || figures.late >= PollerBalance::kLate;
}

bool is_in_use(const PollerFigures& figures) { return figures.busy >= PollerBalance::kInUse; }

std::uint64_t bit(std::size_t poller) { return std::uint64_t{1} << poller; }

std::uint64_t choose_newcomers(std::span<const PollerFigures> figures, bool has_spare) {
  std::uint64_t in_use = bit(0);  // it may be busy with bursts alone
  for (std::size_t i = 0; i < figures.size(); ++i) {
    const bool used = i == 0 || is_in_use(figures[i]);
    if (!is_busy(figures[i]) && (used || has_spare)) return bit(i);
    if (used) in_use |= bit(i);
  }
  return in_use;
}

// What makes the two alike, if connections are.
double share_to_pass_on(const PollerFigures& from, const PollerFigures& to) {
  if (from.busy <= to.busy) return 0.5;  // it is late, not busy: bursts come of many at once
  return std::clamp((from.busy - to.busy) / (2 * from.busy), 0.0, 0.5);
}

}  // namespace

bool PollerBalance::needs_spare(std::span<const PollerFigures> figures) {
  return figures.size() > 1 && std::any_of(figures.begin(), figures.end(), is_busy);
}

void PollerBalance::age(Poller& poller) {
  poller.rest = std::max(poller.rest - 1, 0);
  if (poller.role == Role::kNone || ++poller.since < kForget) return;
  poller.role = Role::kNone;
  poller.rest_next = kRest;
}

void PollerBalance::take_part(Poller& poller, Role role) {
  if (poller.role != Role::kNone && poller.role != role) {
    poller.rest_next = std::min(poller.rest_next * 2, kRestMax);
  }
  poller.role = role;
  poller.rest = poller.rest_next;
  poller.since = 0;
  poller.full = 0;
}

// The poller that is most in need; their number if there is none.
std::size_t PollerBalance::fullest(std::span<const PollerFigures> figures) const {
  std::size_t found = pollers_.size();
  for (std::size_t i = 0; i < pollers_.size(); ++i) {
    if (pollers_[i].full < kFullWindows || pollers_[i].rest > 0) continue;
    if (found == pollers_.size() || figures[i].busy > figures[found].busy) found = i;
  }
  return found;
}

// The first one: those that are needed are used, no more.
std::size_t PollerBalance::with_room(std::span<const PollerFigures> figures) const {
  for (std::size_t i = 0; i < pollers_.size(); ++i) {
    if (pollers_[i].rest == 0 && figures[i].busy <= kRoom && !is_full(figures[i])) return i;
  }
  return pollers_.size();
}

PollerBalance::Decision PollerBalance::step(std::span<const PollerFigures> figures, double spare) {
  const bool has_spare = spare >= kSpareMin;
  for (std::size_t i = 0; i < pollers_.size(); ++i) {
    age(pollers_[i]);
    pollers_[i].full = has_spare && is_full(figures[i]) ? pollers_[i].full + 1 : 0;
  }
  Decision decision{choose_newcomers(figures, has_spare), {}};
  // Each may come to take a processor of those that are idle.
  for (double left = spare; left >= kSpareMin; left -= 1) {
    const std::size_t from = fullest(figures);
    if (from == pollers_.size()) break;
    const std::size_t to = with_room(figures);
    if (to == pollers_.size()) break;
    decision.moves.push_back({from, to, share_to_pass_on(figures[from], figures[to])});
    take_part(pollers_[from], Role::kGave);
    take_part(pollers_[to], Role::kTook);
  }
  return decision;
}

}  // namespace vigil::http
