// The functions of elfutils' libdw that symbolization uses, found with dlopen when the agent is
// armed.
//
// Why not linked: libdw brings four shared libraries into the process, which a program that never
// asks for a profile should not pay for, and its static archive cannot go into a shared object (TLS
// relocations). Why loaded early, in Symbolizer::create(), and with every reference bound
// (RTLD_NOW): a first dlopen at the time of a dump would wait for the loader's lock, which the
// program may hold forever; a dump is wanted most just then.
//
// The elfutils headers give the types only; nothing of the library is linked.
#pragma once

#include <elfutils/libdw.h>
#include <elfutils/libdwelf.h>
#include <elfutils/libdwfl.h>

#include "base/result.h"

namespace vigil::sampler {

// X(name): every function that we call. One list, so that the table and its loader cannot disagree.
// clang-format off
#define VIGIL_LIBDW_FUNCTIONS(X) \
  X(dwfl_begin) X(dwfl_end) X(dwfl_report_begin_add) X(dwfl_report_elf) X(dwfl_report_end) \
  X(dwfl_module_info) X(dwfl_module_getelf) X(dwfl_module_getdwarf) X(dwfl_module_build_id) \
  X(dwfl_module_getsymtab) X(dwfl_module_getsym_info) X(dwarf_getaranges) \
  X(dwarf_getarange_addr) X(dwarf_getarangeinfo) X(dwarf_get_units) X(dwarf_cu_info) \
  X(dwarf_cu_getdwarf) X(dwarf_offdie) X(dwarf_child) X(dwarf_siblingof) X(dwarf_tag) \
  X(dwarf_dieoffset) X(dwarf_ranges) X(dwarf_haspc) X(dwarf_entrypc) X(dwarf_attr) X(dwarf_attr_integrate) \
  X(dwarf_formstring) X(dwarf_formudata) X(dwarf_getsrcfiles) X(dwarf_filesrc) \
  X(dwarf_getsrclines) X(dwarf_getsrc_die) X(dwarf_linesrc) X(dwarf_lineno) \
  X(dwelf_elf_gnu_build_id) X(elf_version) X(elf_begin) X(elf_end) X(elf_getscn) \
  X(gelf_getshdr) X(dwarf_formref_die) X(dwarf_diecu) X(dwarf_srclang)
// clang-format on

// A table of pointers with the functions' own names: `api.dwfl_begin(&callbacks)`. Plain data,
// copyable.
struct LibdwApi {
#define VIGIL_LIBDW_MEMBER(name) decltype(&::name) name = nullptr;
  VIGIL_LIBDW_FUNCTIONS(VIGIL_LIBDW_MEMBER)
#undef VIGIL_LIBDW_MEMBER

  // Loads "libdw.so.1" (never unloaded) and fills the table. unsupported, with what to install,
  // when the library or one of its functions is not there. Takes the loader's lock: call it while
  // the program is known to be healthy.
  static Result<LibdwApi> load();
};

}  // namespace vigil::sampler
