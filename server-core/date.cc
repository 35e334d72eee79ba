#include "server-core/date.h"

#include <algorithm>
#include <chrono>
#include <string_view>

namespace vigil::http {
namespace {

void put(char* at, std::string_view text) { std::copy(text.begin(), text.end(), at); }

void put_number(char* at, int digits, unsigned value) {
  for (int i = digits - 1; i >= 0; --i, value /= 10) at[i] = static_cast<char>('0' + value % 10);
}

}  // namespace

std::array<char, 29> format_http_date(WallTime time) {
  constexpr std::string_view kDays = "SunMonTueWedThuFriSat";
  constexpr std::string_view kMonths = "JanFebMarAprMayJunJulAugSepOctNovDec";
  using std::chrono::floor;
  const auto day = floor<std::chrono::days>(time);
  const std::chrono::year_month_day date(day);
  const auto second = static_cast<unsigned>(floor<std::chrono::seconds>(time - day).count());

  std::array<char, 29> out;
  put(out.data(), "ddd, DD mmm YYYY hh:mm:ss GMT");
  put(&out[0], kDays.substr(std::chrono::weekday(day).c_encoding() * 3, 3));
  put_number(&out[5], 2, static_cast<unsigned>(date.day()));
  put(&out[8], kMonths.substr((static_cast<unsigned>(date.month()) - 1) * 3, 3));
  put_number(&out[12], 4, static_cast<unsigned>(static_cast<int>(date.year())));
  put_number(&out[17], 2, second / 3600);
  put_number(&out[20], 2, second / 60 % 60);
  put_number(&out[23], 2, second % 60);
  return out;
}

void DateCache::refresh(Clock& clock, MonotonicTime now) {
  const WallTime wall = clock.wall_now();
  text_ = format_http_date(wall);
  const auto into_second = wall - std::chrono::floor<std::chrono::seconds>(wall);
  valid_until_ = now + std::chrono::seconds(1) - into_second;
}

}  // namespace vigil::http
