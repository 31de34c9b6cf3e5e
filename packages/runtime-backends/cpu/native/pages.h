// Memory from the system, files that are mapped and files that are read.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "failure.h"

namespace jamba {

/** Anonymous or file-backed pages, given back as a whole. */
class Pages {
 public:
  Pages() = default;
  /** Zeros. @throws Failure OUT_OF_MEMORY */
  explicit Pages(int64_t bytes);
  ~Pages();
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  uint8_t* data() const { return data_; }
  int64_t bytes() const { return bytes_; }
  bool mapped() const { return file_ != nullptr; }
  /** @throws Failure LOAD */
  static std::shared_ptr<Pages> ofFile(const std::string& path);
  /**
   * That the file behind them is what it was when it was mapped, by its size and the time of its last change; any for pages without one.
   * Costs a system call.
   * @throws Failure BACKEND, and from then on always
   */
  void expectUnchanged() const;
  /** Whether that failed once. */
  bool changed() const;

 private:
  struct File;

  uint8_t* data_ = nullptr;
  int64_t bytes_ = 0;
  /** Unmaps them in the end. */
  std::shared_ptr<File> file_;
};

/** Reads at any place, from several threads at once. */
class LocalFile {
 public:
  /** @throws Failure LOAD */
  explicit LocalFile(const std::string& path);
  ~LocalFile();
  LocalFile(const LocalFile&) = delete;
  LocalFile& operator=(const LocalFile&) = delete;
  /** Whether the file has all of the bytes. */
  bool read(int64_t offset, int64_t bytes, uint8_t* to) const;

 private:
  intptr_t handle_;
};

/** The same for two paths only if what lies there is the same file, unchanged. */
std::string fileIdentity(const std::string& path);

}  // namespace jamba
