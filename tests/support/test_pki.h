// TestPki: certificates for tests, made when it is constructed, in a folder that goes with it.
#pragma once

#include <string>
#include <vector>

namespace vigil::test {

// PEM files.
struct TestCertificate {
  std::string chain_file;
  std::string key_file;
};

class TestPki {
 public:
  // Makes an authority, in authority_file().
  TestPki();
  ~TestPki();
  TestPki(const TestPki&) = delete;
  TestPki& operator=(const TestPki&) = delete;

  enum class Validity { kYear, kExpired };

  // A certificate by the authority for `common_name`, with `dns_names` as its alternative names,
  // in files that are called `file`.
  TestCertificate issue(const std::string& file, const std::string& common_name,
                        const std::vector<std::string>& dns_names = {},
                        Validity validity = Validity::kYear);

  const std::string& folder() const { return folder_; }
  std::string authority_file() const { return folder_ + "/ca.pem"; }
  // Writes a file of the folder; returns its path.
  std::string write(const std::string& file, const std::string& content) const;

 private:
  struct Authority;
  std::string folder_;
  Authority* authority_;
};

std::string read_whole_file(const std::string& path);

}  // namespace vigil::test
