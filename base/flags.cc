#include "base/flags.h"

#include <getopt.h>

#include <algorithm>
#include <cstdio>

#include <fmt/format.h>

#include "base/version.h"

namespace vigil {
namespace {

// What getopt_long() returns for the two flags that every program has; ours count up from
// kFirstFlag.
constexpr int kHelp = 1;
constexpr int kVersion = 2;
constexpr int kFirstFlag = 256;

}  // namespace

FlagSetter duration_flag(Duration& target) {
  return [&target](std::string_view text) -> Result<void> {
    const auto value = parse_duration(text);
    if (!value) return value.error();
    target = *value;
    return {};
  };
}

FlagSetter host_port_flag(HostPort& target) {
  return [&target](std::string_view text) -> Result<void> {
    auto value = parse_host_port(text);
    if (!value) return value.error();
    target = *std::move(value);
    return {};
  };
}

FlagSetter text_flag(std::string& target) {
  return [&target](std::string_view text) -> Result<void> {
    if (text.empty()) return Error(ErrorCode::kInvalidArgument, "empty");
    target = text;
    return {};
  };
}

FlagTable::FlagTable(std::string program, std::string summary)
    : program_(std::move(program)), summary_(std::move(summary)) {}

void FlagTable::add(std::string name, std::string value_hint, std::string help, FlagSetter setter) {
  flags_.push_back({std::move(name), std::move(value_hint), std::move(help), std::move(setter)});
}

std::string FlagTable::help() const {
  std::string out = fmt::format("usage: {} [OPTION]…\n{}\n\n", program_, summary_);
  std::size_t width = std::string_view("version").size();
  const auto left_of = [](const Flag& flag) {
    return flag.value_hint.empty() ? flag.name : flag.name + "=" + flag.value_hint;
  };
  for (const Flag& flag : flags_) width = std::max(width, left_of(flag).size());
  const auto line = [&](std::string_view left, std::string_view text) {
    fmt::format_to(std::back_inserter(out), "  --{:<{}}  {}\n", left, width, text);
  };
  for (const Flag& flag : flags_) line(left_of(flag), flag.help);
  line("help", "this text");
  line("version", "the version");
  return out;
}

std::optional<int> FlagTable::refuse(std::string_view what) const {
  fmt::print(stderr, "{}: {}; see {} --help\n", program_, what, program_);
  return 2;
}

std::optional<int> FlagTable::parse(int argc, char** argv) const {
  std::vector<option> options;
  for (std::size_t i = 0; i < flags_.size(); ++i) {
    const int argument = flags_[i].value_hint.empty() ? no_argument : required_argument;
    options.push_back(
        {flags_[i].name.c_str(), argument, nullptr, kFirstFlag + static_cast<int>(i)});
  }
  options.push_back({"help", no_argument, nullptr, kHelp});
  options.push_back({"version", no_argument, nullptr, kVersion});
  options.push_back({nullptr, 0, nullptr, 0});

  // ":" in front: we print the mistakes, and a missing value is told apart from an unknown flag. 0
  // restarts GNU's scan.
  optind = 0;
  for (;;) {
    const int at = optind == 0 ? 1 : optind;
    const int found = getopt_long(argc, argv, ":", options.data(), nullptr);
    if (found == -1) break;
    if (found == kHelp) {
      fmt::print("{}", help());
      return 0;
    }
    if (found == kVersion) {
      fmt::print("{} {}\n", program_, kVersionText);
      return 0;
    }
    if (found == ':') return refuse(fmt::format("{} needs a value", argv[at]));
    // "--switch=x" is '?' with the switch's number.
    if (found == '?' && optopt >= kFirstFlag) {
      return refuse(fmt::format("{} takes no value", argv[at]));
    }
    if (found < kFirstFlag) return refuse(fmt::format("unknown option {}", argv[at]));
    const Flag& flag = flags_[static_cast<std::size_t>(found - kFirstFlag)];
    const Result<void> set = flag.setter(optarg != nullptr ? optarg : "");
    if (!set) {
      return refuse(fmt::format("--{}={}: {}", flag.name, optarg, set.error().message()));
    }
  }
  if (optind < argc) return refuse(fmt::format("unexpected argument {}", argv[optind]));
  return std::nullopt;
}

}  // namespace vigil
