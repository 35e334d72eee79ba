// PollerBalance: how many of a server's pollers are used, and for which connections. The policy alone:
// figures in, decisions out; the Balancer takes the figures and has the decisions carried out.
//
// Pollers are an upper bound, used as they are needed. One poller that is busy costs less for a request
// than two that are half busy: those sleep and wake for nearly every request (measured, with the load on
// the same two processors: 4.6 us against 5.2, and a p99 of 0.2 ms against 2.2). More of them gain
// something only while there is processor time for them.
//
//   newcomers   go to the first poller that is not busy; a poller that is not in use yet is begun only
//               with processor time to spare. Where all are busy, to those in use, in turn.
//   moves       a poller that was full in kFullWindows in a row, with processor time to spare, passes
//               connections on to one that has room, as many as make the two alike. Both rest then, until
//               what it changed can be seen. Without spare time nothing moves.
//   coming back is nothing that is sought: connections that were spread stay so when the load falls; a
//               poller that gave and then takes, or the reverse, rests twice as long each time, up to
//               kRestMax, so that a connection whose load fills any poller does not go round and round.
//
// Example: one poller of four full, two processors idle.
//
//   PollerBalance balance(4);
//   balance.step(figures, 2.0);              // {newcomers: poller 1, moves: none}: full for one window
//   balance.step(figures, 2.0);              // {newcomers: poller 1, moves: {0 to 1, half}}
//
// Pure: no clock, no threads; time is the number of calls. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace vigil::http {

// Of one poller, over one window, each from 0 to 1.
struct PollerFigures {
  // The share of the time in which its leader did not wait for events: it worked, or waited for a
  // processor.
  double busy = 0;
  // The share spent in stretches of work so long that what came meanwhile waited noticeably
  // (PollerLoad::kLongStretch): bursts that another poller could have shared.
  double late = 0;
};

// `from` passes on `share` (0 to 1/2) of the connections that it hears of in the next window to `to`.
struct MoveOrder {
  std::size_t from = 0;
  std::size_t to = 0;
  double share = 0;
  friend bool operator==(const MoveOrder&, const MoveOrder&) = default;
};

class PollerBalance {
 public:
  static constexpr std::size_t kPollersMax = 64;  // a bit each in Decision::newcomers

  // Used by more than this, a poller takes newcomers only where all do.
  static constexpr double kBusy = 0.6;
  // At this it is full: a request that finds its poller so waits for one and a half others' time on
  // average, if they come at random and take equally long.
  static constexpr double kFull = 0.75;
  static constexpr double kLate = 0.1;
  // At most this, it has room to take over from others.
  static constexpr double kRoom = 0.5;
  // From here on it is in use, not just the place of some connections that rest.
  static constexpr double kInUse = 0.1;
  // Idle processors without which a second poller gains nothing: it costs a fifth more for each
  // request, and somebody else may want them in the next moment.
  static constexpr double kSpareMin = 0.5;
  static constexpr int kFullWindows = 2;
  static constexpr int kRest = 3;       // windows
  static constexpr int kRestMax = 300;  // windows
  // So long after its last move a poller's rest is kRest again.
  static constexpr int kForget = 600;  // windows

  // 1 to kPollersMax.
  explicit PollerBalance(std::size_t pollers) : pollers_(pollers) {}

  struct Decision {
    std::uint64_t newcomers =
        1;  // the pollers that take them, in turn: bit N for poller N; never 0
    std::vector<MoveOrder> moves;
  };

  // Whether a decision about `figures` depends on the time to spare: else it need not be measured.
  static bool needs_spare(std::span<const PollerFigures> figures);

  // One window has passed. `figures`: of each poller; `spare`: idle processors, on average; 0 where
  // that is not known.
  Decision step(std::span<const PollerFigures> figures, double spare);

 private:
  enum class Role : std::uint8_t { kNone, kGave, kTook };
  struct Poller {
    int full = 0;  // windows in a row
    int rest = 0;  // windows until it may give or take
    int rest_next = kRest;
    int since = 0;  // windows since its last move
    Role role = Role::kNone;
  };

  void age(Poller& poller);
  void take_part(Poller& poller, Role role);
  std::size_t fullest(std::span<const PollerFigures> figures) const;
  std::size_t with_room(std::span<const PollerFigures> figures) const;

  std::vector<Poller> pollers_;
};

}  // namespace vigil::http
