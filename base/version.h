// The version, set by CMake from project(VERSION).
#pragma once

#include <string_view>

namespace vigil {

inline constexpr std::string_view kVersionText = VIGIL_VERSION;

}  // namespace vigil
