"""Makes shared libraries of 1 to 500 MB with debug information, for `scripts/bench sampler --only=big` and `curves`."""

import concurrent.futures
import os
import subprocess

# Megabytes: units of source, functions in each (a type of its own for each), how often they are in it. A unit of 2,900 functions is
# as large as that of a large source file of a large program: some 6 MB; a copy adds less, for it shares the inline functions.
SIZES = {1: (1, 440, 1), 10: (2, 2300, 1), 100: (16, 2900, 1), 500: (16, 2900, 8)}

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


def unit_source(unit, functions):
    text = "namespace big {\n"
    text += "".join(TYPE.format(u=unit, f=f) for f in range(functions)) + "}\n"
    text += f"long (*const unit_{unit}[])(long) = {{" + ",".join(f"&big::f{unit}_{f}" for f in range(functions)) + "};\n"
    return text + f"extern long (*const* const table_{unit})(long);\nlong (*const* const table_{unit})(long) = unit_{unit};\n"


def main_source(tables, functions):
    externs = "".join(f"extern long (*const* const {table})(long);\n" for table in tables)
    fill = "".join(f"    for (int f = 0; f < {functions}; ++f) big_functions[at++] = {table}[f];\n" for table in tables)
    total = len(tables) * functions
    return (f"{externs}extern \"C\" {{\nlong (*big_functions[{total}])(long);\nextern const unsigned big_functions_count;\n"
            f"const unsigned big_functions_count = {total};\n}}\nnamespace {{\nstruct Fill {{\n  Fill() {{\n    int at = 0;\n"
            f"{fill}  }}\n}} fill;\n}}\n")


def compile_unit(folder, name):
    # -O0: nearly as large as the debug information gets, and compiled in seconds.
    command = ["g++", "-std=c++20", "-O0", "-g", "-fPIC", "-c", folder / f"{name}.cc", "-o", folder / f"{name}.o"]
    subprocess.run(command, check=True)
    return folder / f"{name}.o"


def copy_of(folder, unit, number):
    """The unit once more, with another name for its table: units of their own for linker and debugger, made in a moment."""
    made = folder / f"unit_{unit}_{number}.o"
    subprocess.run(["objcopy", f"--redefine-sym=table_{unit}=table_{unit}_{number}", folder / f"unit_{unit}.o", made], check=True)
    return made


def library(folder, say, megabytes=100):
    """Its path; made once and kept."""
    units, functions, copies = SIZES[megabytes]
    made = folder / f"libbig-{megabytes}.so"
    bytes_min = megabytes * 1_000_000
    if made.exists() and made.stat().st_size >= bytes_min:
        return made
    folder.mkdir(parents=True, exist_ok=True)
    say(f"Making a library of {megabytes} MB in {folder}, once{': some minutes' if units > 2 else ''} …")
    names = [f"unit_{u}" for u in range(units)]
    tables = [f"table_{u}" for u in range(units)]
    for u, name in enumerate(names):
        (folder / f"{name}.cc").write_text(unit_source(u, functions))
    tables += [f"table_{u}_{number}" for number in range(1, copies) for u in range(units)]
    (folder / "main.cc").write_text(main_source(tables, functions))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(lambda name: compile_unit(folder, name), [*names, "main"]))
    objects += [copy_of(folder, u, number) for number in range(1, copies) for u in range(units)]
    subprocess.run(["g++", "-shared", "-Wl,--build-id=sha1", "-o", made, *objects], check=True)
    for leftover in [*folder.glob("*.o"), *folder.glob("*.cc")]:
        leftover.unlink()
    if made.stat().st_size < bytes_min:
        raise RuntimeError(f"{made} has {made.stat().st_size} bytes only")
    return made
