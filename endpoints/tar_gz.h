// TarGz: writes a tar.gz piece by piece, by libarchive.
//
//   Result<TarGz> tar = TarGz::create(write);          // write: PageWriter
//   if (Result<void> added = tar->add("heap.pb.gz", bytes, wall_now); !added) …
//   Result<void> whole = tar->finish();
//
// libarchive is loaded when it is first asked for, like libdw: a program that is only watched does
// not carry it, nor the dozen libraries behind it.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"
#include "endpoints/page.h"

namespace vigil::endpoints {

// Movable. Not thread-safe.
class TarGz {
 public:
  // unsupported: libarchive is not there; the sentence names the package.
  // resource_exhausted: no memory.
  static Result<TarGz> create(PageWriter write);
  ~TarGz();
  TarGz(TarGz&&) noexcept;
  TarGz& operator=(TarGz&&) noexcept;

  // One file, mode 0644. Any error is final, as a rule the writer's: closed.
  Result<void> add(const std::string& name, std::string_view bytes, WallTime modified);

  // The end of the archive. Without it the receiver sees that something is missing.
  Result<void> finish();

 private:
  struct Impl;
  explicit TarGz(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace vigil::endpoints
