# Shared by the scripts of this folder: source it, do not run it.
# Sets -euo pipefail and changes to the top of the project.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# What a build needs, by Debian's package names.
build_packages=(
  cmake g++ ninja-build pkg-config
  libgoogle-perftools-dev libunwind-dev liblzma-dev libcpp-httplib-dev libfmt-dev node-llhttp libdw-dev
  libprotozero-dev zlib1g-dev nlohmann-json3-dev libnghttp2-dev libssl-dev libwslay-dev libarchive-dev
  catch2 libgtest-dev libjemalloc-dev python3  # the presets configure the tests too
  libboost-dev libgrpc++-dev protobuf-compiler-grpc  # leakwatch/adapters are tested where these are found
  libbenchmark-dev  # tests/bench/micro
)
# What the tour shows, beyond the build: the real pprof, and load.
tour_packages=(golang-go curl openssl)
# What the tests need, beyond the build: the real clients.
test_packages=(golang-go google-perftools binutils curl openssl wrk python3-yaml nghttp2-client nodejs node-ws chromium
  make dpkg-dev file  # consumers' projects, and the Debian packages by CPack
  prometheus  # for promtool; its service stays off, see install_packages
  nginx redis-server redis-tools libjemalloc2  # what the agent is preloaded into; services off likewise
)
# The real servers that the agent is tried on, beyond nginx and redis: with -L stress, and in scripts/bench agent.
server_packages=(nginx redis-server redis-tools mariadb-server dnsdist)
# What scripts/bench needs, beyond the build and those: peers, load, and the instruction counts of `scripts/bench callgrind`.
bench_packages=(golang-go golang-golang-x-net-dev nginx nghttp2-client openssl wrk valgrind linux-perf)
# What scripts/fuzz needs, beyond the build: libFuzzer and the compiler that has it.
fuzz_packages=(clang-14 libclang-rt-14-dev)

# What scripts/tidy needs.
tidy_packages=(clang-tidy-14)

say() { printf '%s\n' "$*" >&2; }

# die MESSAGE [STATUS]: one line, and out (status 1).
die() {
  say "$(basename "$0"): $1"
  exit "${2:-1}"
}

# install_packages NAME…: installs what is missing, with sudo where not root. Where there is no apt, prints the list.
install_packages() {
  local missing=() name
  if ! command -v apt-get >/dev/null; then
    say "This is not Debian or Ubuntu. vigil needs what these Debian packages hold:"
    say "  $*"
    return
  fi
  for name in "$@"; do
    dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing+=("$name")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || die "needs root or sudo to install: ${missing[*]}"
    as_root=(sudo)
  fi
  say "Installing: ${missing[*]}"
  "${as_root[@]}" apt-get update -qq
  # RUNLEVEL=1: invoke-rc.d(8) starts no service of what is installed.
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# build PRESET [TARGET…]: configures when that has not been done, and builds.
build() {
  local preset=$1
  shift
  [ -f "build/$preset/build.ninja" ] || cmake --preset "$preset" >/dev/null
  local targets=()
  [ $# -eq 0 ] || targets=(--target "$@")
  cmake --build --preset "$preset" "${targets[@]}"
}
