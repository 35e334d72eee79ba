#include "sampler/allocator_frames.h"

#include "tests/support/catch.h"

namespace vigil::sampler {
namespace {

TEST_CASE("allocator frames: what only passes an allocation on, and what does not") {
  for (const char* name :
       {"malloc", "operator new", "operator new[]", "tcmalloc::allocate_full_cpp_throw_oom",
        "tc_new", "std::allocator<char>::allocate", "std::__new_allocator<char>::allocate",
        "std::allocator_traits<std::allocator<char> >::allocate",
        "std::_Vector_base<char, std::allocator<char> >::_M_allocate",
        "__gnu_cxx::new_allocator<char>::allocate", "std::vector<char>::vector",
        "std::make_unique<int>"}) {
    INFO(name);
    CHECK(is_allocator_function(name));
  }
  for (const char* name :
       {"demo::remember", "malloc_trim_all", "my::tcmalloc::x", "operator new_order"}) {
    INFO(name);
    CHECK_FALSE(is_allocator_function(name));
  }
}

// A profile with one location a function list, innermost first.
Profile profile_of(const std::vector<std::vector<std::string>>& locations) {
  Profile profile;
  ProfileSample sample;
  sample.values = {1};
  for (const auto& names : locations) {
    ProfileLocation location;
    for (const std::string& name : names) {
      location.lines.push_back({static_cast<FunctionIndex>(profile.functions.size()), 1});
      profile.functions.push_back({name, name, "", 0});
    }
    sample.locations.push_back(static_cast<LocationIndex>(profile.locations.size()));
    profile.locations.push_back(std::move(location));
  }
  profile.samples.push_back(std::move(sample));
  return profile;
}

std::vector<std::string> leaf_to_root(const Profile& profile) {
  std::vector<std::string> names;
  for (const LocationIndex i : profile.samples[0].locations) {
    for (const ProfileLine& line : profile.locations[index(i)].lines) {
      names.push_back(profile.functions[index(line.function)].name);
    }
  }
  return names;
}

TEST_CASE("allocator frames: whole locations and inlined ones go, up to the first of the program") {
  Profile profile = profile_of({{"tcmalloc::x"},
                                {"operator new"},
                                {"std::allocator<int>::allocate", "demo::remember"},
                                {"main"}});
  drop_allocator_frames(profile);
  CHECK(leaf_to_root(profile) == std::vector<std::string>{"demo::remember", "main"});
}

TEST_CASE("allocator frames: one that is further out stays") {
  Profile profile = profile_of({{"demo::make"}, {"std::_Sp_make"}, {"main"}});
  drop_allocator_frames(profile);
  CHECK(leaf_to_root(profile) == std::vector<std::string>{"demo::make", "std::_Sp_make", "main"});
}

TEST_CASE("allocator frames: a stack of nothing else is kept") {
  Profile profile = profile_of({{"tcmalloc::x"}, {"malloc"}});
  drop_allocator_frames(profile);
  CHECK(leaf_to_root(profile) == std::vector<std::string>{"tcmalloc::x", "malloc"});
}

}  // namespace
}  // namespace vigil::sampler
