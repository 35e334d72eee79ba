#include "base/flags.h"

#include <getopt.h>

#include <algorithm>
#include <cstdio>

#include <fmt/core.h>

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

void FlagTable::add_letter(char letter, std::string_view name) {
  for (Flag& flag : flags_) {
    if (flag.name == name) flag.letter = letter;
  }
}

void FlagTable::add_operand(std::string hint, FlagSetter setter) {
  operand_hint_ = " [" + std::move(hint) + "]";
  operand_ = std::move(setter);
}

void FlagTable::add_command(std::string hint, std::vector<std::string>& target) {
  operand_hint_ = " [--] " + std::move(hint);
  command_ = &target;
}

std::string FlagTable::help() const {
  std::string out = fmt::format("usage: {} [OPTION]…{}\n{}\n\n", program_, operand_hint_, summary_);
  std::size_t width = std::string_view("version").size();
  const auto left_of = [](const Flag& flag) {
    std::string left = flag.value_hint.empty() ? flag.name : flag.name + "=" + flag.value_hint;
    if (flag.letter != '\0') left += fmt::format(", -{}", flag.letter);
    return left;
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

const FlagTable::Flag* FlagTable::flag_of(int found) const {
  if (found >= kFirstFlag) return &flags_[static_cast<std::size_t>(found - kFirstFlag)];
  for (const Flag& flag : flags_) {
    if (flag.letter != '\0' && flag.letter == found) return &flag;
  }
  return nullptr;
}

std::optional<int> FlagTable::take_operands(int first, int argc, char** argv) const {
  if (command_ != nullptr) {
    command_->assign(argv + first, argv + argc);
    return std::nullopt;
  }
  const int operands_max = operand_ ? 1 : 0;
  if (argc - first > operands_max) {
    return refuse(fmt::format("unexpected argument {}", argv[first + operands_max]));
  }
  if (first == argc) return std::nullopt;
  const Result<void> set = operand_(argv[first]);
  if (!set) return refuse(fmt::format("{}: {}", argv[first], set.error().message()));
  return std::nullopt;
}

std::optional<int> FlagTable::parse(int argc, char** argv) const {
  std::vector<option> options;
  // ":" in front: we print the mistakes, and a missing value is told apart from an unknown flag. "+"
  // before it: the first operand ends the flags.
  std::string letters = command_ != nullptr ? "+:" : ":";
  for (std::size_t i = 0; i < flags_.size(); ++i) {
    const int argument = flags_[i].value_hint.empty() ? no_argument : required_argument;
    options.push_back(
        {flags_[i].name.c_str(), argument, nullptr, kFirstFlag + static_cast<int>(i)});
    if (flags_[i].letter == '\0') continue;
    letters += flags_[i].letter;
    if (argument == required_argument) letters += ':';
  }
  options.push_back({"help", no_argument, nullptr, kHelp});
  options.push_back({"version", no_argument, nullptr, kVersion});
  options.push_back({nullptr, 0, nullptr, 0});

  // 0 restarts GNU's scan.
  optind = 0;
  for (;;) {
    const int at = optind == 0 ? 1 : optind;
    const int found = getopt_long(argc, argv, letters.c_str(), options.data(), nullptr);
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
    const Flag* const flag = flag_of(found);
    if (flag == nullptr) return refuse(fmt::format("unknown option {}", argv[at]));
    const Result<void> set = flag->setter(optarg != nullptr ? optarg : "");
    if (!set) {
      return refuse(fmt::format("--{}={}: {}", flag->name, optarg, set.error().message()));
    }
  }
  return take_operands(optind, argc, argv);
}

}  // namespace vigil
