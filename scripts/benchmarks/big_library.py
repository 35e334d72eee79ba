"""Makes a shared library of 100 MB with debug information, for `scripts/bench sampler --only=big`."""

import concurrent.futures
import os
import subprocess

UNITS = 16  # the size of each is that of a large source file of a large program: some 6 MB
FUNCTIONS = 2900  # of a unit; each with a type of its own
BYTES_MIN = 100_000_000

TYPE = """
struct T{u}_{f} {{
  struct Inner {{ int a; long b; double c; const char* d; }};
  enum class Kind : unsigned char {{ kNone, kFirst, kSecond, kThird, kFourth }};
  using Callback = long (*)(const T{u}_{f}&, Inner*, Kind, const char*);
  Kind kind = Kind::kNone; Callback callback = nullptr;
  long first, second; int third[{f} % 7 + 1]; Inner fourth; T{u}_{f}* next = nullptr;
  long method_a(long x) const {{ return x + first; }}
  long method_b(const Inner& inner, long x) {{ second = inner.b + x; return method_a(second); }}
}};
[[gnu::noinline]] static long f{u}_{f}(long x) {{
  T{u}_{f} t; t.first = x; T{u}_{f}::Inner inner{{1, x, 2.0, "{f}"}};
  long sum = 0;
  for (int i = 0; i < 3000; ++i) {{ sum += t.method_b(inner, i) * ({f} + i); asm volatile("" : "+r"(sum)); }}
  return sum;
}}
"""


def unit_source(unit):
    text = "namespace big {\n"
    text += "".join(TYPE.format(u=unit, f=f) for f in range(FUNCTIONS)) + "}\n"
    text += f"long (*const unit_{unit}[])(long) = {{" + ",".join(f"&big::f{unit}_{f}" for f in range(FUNCTIONS)) + "};\n"
    return text + f"extern long (*const* const table_{unit})(long);\nlong (*const* const table_{unit})(long) = unit_{unit};\n"


def main_source():
    externs = "".join(f"extern long (*const* const table_{u})(long);\n" for u in range(UNITS))
    fill = "".join(f"    for (int f = 0; f < {FUNCTIONS}; ++f) big_functions[at++] = table_{u}[f];\n" for u in range(UNITS))
    total = UNITS * FUNCTIONS
    return (f"{externs}extern \"C\" {{\nlong (*big_functions[{total}])(long);\nextern const unsigned big_functions_count;\n"
            f"const unsigned big_functions_count = {total};\n}}\nnamespace {{\nstruct Fill {{\n  Fill() {{\n    int at = 0;\n"
            f"{fill}  }}\n}} fill;\n}}\n")


def compile_unit(folder, name):
    # -O0: nearly as large as the debug information gets, and compiled in seconds.
    command = ["g++", "-std=c++20", "-O0", "-g", "-fPIC", "-c", folder / f"{name}.cc", "-o", folder / f"{name}.o"]
    subprocess.run(command, check=True)
    return folder / f"{name}.o"


def library(folder, say):
    """Its path; made once and kept."""
    made = folder / "libbig.so"
    if made.exists() and made.stat().st_size >= BYTES_MIN:
        return made
    folder.mkdir(parents=True, exist_ok=True)
    say(f"Making a library of 100 MB in {folder}, once: some minutes …")
    names = [f"unit_{u}" for u in range(UNITS)]
    for u, name in enumerate(names):
        (folder / f"{name}.cc").write_text(unit_source(u))
    (folder / "main.cc").write_text(main_source())
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(lambda name: compile_unit(folder, name), [*names, "main"]))
    subprocess.run(["g++", "-shared", "-Wl,--build-id=sha1", "-o", made, *objects], check=True)
    for leftover in [*folder.glob("*.o"), *folder.glob("*.cc")]:
        leftover.unlink()
    if made.stat().st_size < BYTES_MIN:
        raise RuntimeError(f"{made} has {made.stat().st_size} bytes only")
    return made
