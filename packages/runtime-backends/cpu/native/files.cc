// Files as memory, and reads of them at any place.
#include <cerrno>
#include <cstring>

#include "pages.h"

#if defined(_WIN32)
#define NOMINMAX
#include <windows.h>
#else
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

namespace jamba {

#if defined(_WIN32)
namespace {
HANDLE opened(const std::string& path) {
  const int length = MultiByteToWideChar(CP_UTF8, 0, path.c_str(), -1, nullptr, 0);
  std::wstring wide(length, 0);
  MultiByteToWideChar(CP_UTF8, 0, path.c_str(), -1, wide.data(), length);
  const HANDLE file = CreateFileW(wide.c_str(), GENERIC_READ, FILE_SHARE_READ, nullptr, OPEN_EXISTING, 0, nullptr);
  if (file == INVALID_HANDLE_VALUE) throw Failure("LOAD", path + ": expected a file that can be opened, found none");
  return file;
}
}  // namespace

std::shared_ptr<Pages> Pages::ofFile(const std::string& path) {
  const HANDLE file = opened(path);
  auto pages = std::make_shared<Pages>();
  LARGE_INTEGER size;
  GetFileSizeEx(file, &size);
  HANDLE mapping = CreateFileMappingW(file, nullptr, PAGE_READONLY, 0, 0, nullptr);
  if (mapping) pages->data_ = (uint8_t*)MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, 0);
  pages->bytes_ = size.QuadPart;
  pages->mapped_ = true;
  if (mapping) CloseHandle(mapping);
  CloseHandle(file);
  if (!pages->data_) throw Failure("LOAD", path + ": the system can't map it");
  return pages;
}
LocalFile::LocalFile(const std::string& path) : handle_((intptr_t)opened(path)) {}
LocalFile::~LocalFile() { CloseHandle((HANDLE)handle_); }
bool LocalFile::read(int64_t offset, int64_t bytes, uint8_t* to) const {
  OVERLAPPED at{};
  at.Offset = (DWORD)offset, at.OffsetHigh = (DWORD)(offset >> 32);
  DWORD found = 0;
  return ReadFile((HANDLE)handle_, to, (DWORD)bytes, &found, &at) && found == (DWORD)bytes;
}
std::string fileIdentity(const std::string& path) { return path; }  // Windows does not replace a file that is mapped
#else
std::shared_ptr<Pages> Pages::ofFile(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) throw Failure("LOAD", path + ": expected a file that can be opened, found: " + strerror(errno));
  struct stat found;
  const bool known = fstat(file, &found) == 0;
  void* data = known && found.st_size > 0 ? mmap(nullptr, (size_t)found.st_size, PROT_READ, MAP_SHARED, file, 0) : MAP_FAILED;
  close(file);
  if (data == MAP_FAILED) throw Failure("LOAD", path + ": expected a file that can be mapped, found an empty one or: " + strerror(errno));
  auto pages = std::make_shared<Pages>();
  pages->data_ = (uint8_t*)data;
  pages->bytes_ = found.st_size;
  pages->mapped_ = true;
  return pages;
}
LocalFile::LocalFile(const std::string& path) : handle_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
  if (handle_ < 0) throw Failure("LOAD", path + ": expected a file that can be opened, found: " + strerror(errno));
}
LocalFile::~LocalFile() { close((int)handle_); }
bool LocalFile::read(int64_t offset, int64_t bytes, uint8_t* to) const {
  while (bytes > 0) {
    const ssize_t found = pread((int)handle_, to, (size_t)bytes, offset);
    if (found < 0 && errno == EINTR) continue;
    if (found <= 0) return false;
    offset += found, bytes -= found, to += found;
  }
  return true;
}
std::string fileIdentity(const std::string& path) {
  struct stat found;
  if (stat(path.c_str(), &found) != 0) return path;
#if defined(__APPLE__)
  const struct timespec& changed = found.st_mtimespec;
#else
  const struct timespec& changed = found.st_mtim;
#endif
  std::string identity = path;
  for (const int64_t part : {(int64_t)found.st_dev, (int64_t)found.st_ino, (int64_t)found.st_size, (int64_t)changed.tv_sec, (int64_t)changed.tv_nsec})
    identity += ':' + std::to_string(part);
  return identity;
}
#endif

}  // namespace jamba
