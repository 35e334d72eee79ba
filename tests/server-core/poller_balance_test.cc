// The policy of how many pollers are used, with figures made up.
#include "server-core/poller_balance.h"

#include <vector>

#include "tests/support/catch.h"

using vigil::http::MoveOrder;
using vigil::http::PollerBalance;
using vigil::http::PollerFigures;

namespace {

using Figures = std::vector<PollerFigures>;

// Of pollers that work in short stretches.
Figures busy(std::vector<double> shares) {
  Figures figures;
  for (const double share : shares) figures.push_back({share, 0});
  return figures;
}

std::uint64_t newcomers(const Figures& figures, double spare) {
  return PollerBalance(figures.size()).step(figures, spare).newcomers;
}

// The moves of `windows` windows with the same figures.
std::vector<MoveOrder> moves(PollerBalance& balance, const Figures& figures, double spare,
                             int windows) {
  std::vector<MoveOrder> all;
  for (int i = 0; i < windows; ++i) {
    for (const MoveOrder& order : balance.step(figures, spare).moves) all.push_back(order);
  }
  return all;
}

constexpr double kJustBelow = 1e-9;

}  // namespace

TEST_CASE("newcomers go to the first poller that is not busy") {
  CHECK(newcomers(busy({0, 0, 0}), 3) == 0b001);
  CHECK(newcomers(busy({PollerBalance::kBusy - kJustBelow, 0, 0}), 3) == 0b001);
  CHECK(newcomers(busy({PollerBalance::kBusy, 0, 0}), 3) == 0b010);
  CHECK(newcomers(busy({0.9, 0.9, 0.2}), 3) == 0b100);
}

TEST_CASE("a poller that is not in use is begun only with processor time to spare") {
  const double enough = PollerBalance::kSpareMin;
  CHECK(newcomers(busy({0.9, 0}), enough) == 0b10);
  CHECK(newcomers(busy({0.9, 0}), enough - kJustBelow) == 0b01);
  // One that is in use is no new one.
  CHECK(newcomers(busy({0.9, PollerBalance::kInUse}), 0) == 0b10);
  CHECK(newcomers(busy({0.9, PollerBalance::kInUse - kJustBelow}), 0) == 0b01);
}

TEST_CASE("where all pollers in use are busy, they take newcomers in turn") {
  CHECK(newcomers(busy({0.9, 0.02, 0.7, 0.8}), 0) == 0b1101);
  CHECK(newcomers(busy({0.9, 0.9, 0.7, 0.8}), 5) == 0b1111);
}

TEST_CASE("a poller that works in long stretches is busy for newcomers") {
  CHECK(newcomers({{0.2, PollerBalance::kLate}, {0, 0}}, 1) == 0b10);
  CHECK(newcomers({{0.2, PollerBalance::kLate - kJustBelow}, {0, 0}}, 1) == 0b01);
  // The first one is in use whatever its figures are: newcomers always have a place.
  CHECK(newcomers({{0.05, 0.2}, {0, 0}}, 0) == 0b01);
}

TEST_CASE("a full poller passes half on after two windows with processor time to spare") {
  PollerBalance balance(2);
  const Figures figures = busy({PollerBalance::kFull, 0});
  CHECK(balance.step(figures, 1).moves.empty());
  CHECK(balance.step(figures, 1).moves == std::vector<MoveOrder>{{0, 1, 0.5}});
}

TEST_CASE("a poller that is not quite full keeps its connections") {
  PollerBalance balance(2);
  CHECK(moves(balance, busy({PollerBalance::kFull - kJustBelow, 0}), 1, 50).empty());
}

TEST_CASE("without processor time to spare nothing moves") {
  PollerBalance balance(2);
  const double little = PollerBalance::kSpareMin - kJustBelow;
  CHECK(moves(balance, busy({1, 0}), little, 50).empty());
  // Nor does a window that had some, between those that had none.
  for (int i = 0; i < 20; ++i) {
    CHECK(balance.step(busy({1, 0}), 1).moves.empty());
    CHECK(balance.step(busy({1, 0}), little).moves.empty());
  }
}

TEST_CASE("what a poller passes on makes the two alike") {
  PollerBalance balance(2);
  const std::vector<MoveOrder> order = moves(balance, busy({1, 0.4}), 1, 2);
  REQUIRE(order.size() == 1);
  CHECK(order[0].share == Approx(0.3));
}

TEST_CASE("nobody takes over who has no room") {
  PollerBalance balance(2);
  CHECK(moves(balance, busy({1, PollerBalance::kRoom + kJustBelow}), 1, 50).empty());
  PollerBalance with_room(2);
  CHECK(moves(with_room, busy({1, PollerBalance::kRoom}), 1, 2).size() == 1);
  PollerBalance late(2);
  CHECK(moves(late, {{1, 0}, {0.3, PollerBalance::kLate}}, 1, 2).empty());
}

TEST_CASE("bursts that take a poller long are shared, however idle it is between them") {
  PollerBalance balance(3);
  const Figures figures = {{0.2, PollerBalance::kLate}, {0.3, 0}, {0, 0}};
  CHECK(moves(balance, figures, 1, 2) == std::vector<MoveOrder>{{0, 1, 0.5}});
}

TEST_CASE("as many move at once as there are idle processors") {
  const Figures figures = busy({1, 0.9, 0.95, 0, 0, 0});
  PollerBalance one(6);
  CHECK(moves(one, figures, 1, 2) == std::vector<MoveOrder>{{0, 3, 0.5}});
  PollerBalance three(6);
  CHECK(moves(three, figures, 3, 2) ==
        std::vector<MoveOrder>{{0, 3, 0.5}, {2, 4, 0.5}, {1, 5, 0.5}});
}

TEST_CASE("both rest after a move until its effect can be seen") {
  PollerBalance balance(2);
  REQUIRE(moves(balance, busy({1, 0}), 1, 2).size() == 1);
  CHECK(moves(balance, busy({1, 0}), 1, PollerBalance::kRest - 1).empty());
  CHECK(moves(balance, busy({1, 0}), 1, 1).size() == 1);
}

TEST_CASE("a load that fills any poller does not go round and round") {
  // Whoever has it is full, and the other has room: all of it is in one connection.
  PollerBalance balance(2);
  std::size_t has_it = 0;
  std::vector<int> at;
  for (int window = 0; window < 6000; ++window) {  // ten minutes
    const auto decision = balance.step(has_it == 0 ? busy({1, 0}) : busy({0, 1}), 1);
    for (const MoveOrder& order : decision.moves) {
      REQUIRE(order.from == has_it);
      has_it = order.to;
      at.push_back(window);
    }
  }
  REQUIRE(at.size() >= 8);
  CHECK(at[1] - at[0] == PollerBalance::kRest);
  CHECK(at[2] - at[1] == 2 * PollerBalance::kRest);
  CHECK(at[3] - at[2] == 4 * PollerBalance::kRest);
  CHECK(at.back() - at[at.size() - 2] == PollerBalance::kRestMax);
  CHECK(at.size() <= 30);
}

TEST_CASE("after a long time without a move a poller's rest is short again") {
  PollerBalance balance(2);
  const auto move = [&](double first, double second) {
    for (int window = 0; window < 1000; ++window) {
      if (!balance.step(busy({first, second}), 1).moves.empty()) return window;
    }
    return -1;
  };
  CHECK(move(1, 0) == 1);
  CHECK(move(0, 1) == PollerBalance::kRest - 1);
  CHECK(move(1, 0) == 2 * PollerBalance::kRest - 1);
  CHECK(moves(balance, busy({0.3, 0.3}), 1, PollerBalance::kForget).empty());
  CHECK(move(1, 0) == 1);
  CHECK(move(1, 0) == PollerBalance::kRest - 1);
}

TEST_CASE("a load for sixteen pollers is spread over them within two seconds") {
  // 1,100 connections, each with work for a hundredth of a processor.
  constexpr std::size_t kPollers = 16;
  PollerBalance balance(kPollers);
  std::vector<double> connections(kPollers, 0);
  connections[0] = 1100;
  int windows = 0;
  for (; windows < 100; ++windows) {
    std::vector<double> shares;
    double used = 0;
    for (const double count : connections) {
      shares.push_back(std::min(count / 100, 1.0));
      used += shares.back();
    }
    if (used > 10.5) break;
    for (const MoveOrder& order : balance.step(busy(shares), kPollers - used).moves) {
      const double moved = connections[order.from] * order.share;
      connections[order.from] -= moved;
      connections[order.to] += moved;
    }
  }
  CHECK(windows <= 20);
}

TEST_CASE("64 pollers that are all full stay as they are") {
  const Figures figures = busy(std::vector<double>(64, 1.0));
  PollerBalance balance(64);
  CHECK(moves(balance, figures, 1, 20).empty());
  CHECK(newcomers(figures, 1) == ~std::uint64_t{0});
}

TEST_CASE("time to spare is asked for only where something depends on it") {
  CHECK_FALSE(PollerBalance::needs_spare(busy({1})));
  CHECK_FALSE(PollerBalance::needs_spare(busy({PollerBalance::kBusy - kJustBelow, 0})));
  CHECK(PollerBalance::needs_spare(busy({0, PollerBalance::kBusy})));
  CHECK(PollerBalance::needs_spare(Figures{{0, PollerBalance::kLate}, {0, 0}}));
}
