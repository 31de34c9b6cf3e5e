// Files as memory, and reads of them at any place.
#include <cerrno>
#include <cstring>

#include "faults.h"
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
  if (file == INVALID_HANDLE_VALUE) fail("LOAD", path + ": expected a file that can be opened, found none");
  return file;
}
}  // namespace

/** Open for as long as it is mapped: until then the system lets nobody write to it, cut it or replace it. */
struct Pages::File {
  HANDLE file;
  void* data = nullptr;
  explicit File(HANDLE file) : file(file) {}
  ~File() {
    if (data) UnmapViewOfFile(data);
    CloseHandle(file);
  }
};

std::shared_ptr<Pages> Pages::ofFile(const std::string& path) {
  auto pages = std::make_shared<Pages>();
  pages->file_ = std::make_shared<File>(opened(path));
  LARGE_INTEGER size;
  GetFileSizeEx(pages->file_->file, &size);
  HANDLE mapping = CreateFileMappingW(pages->file_->file, nullptr, PAGE_READONLY, 0, 0, nullptr);
  if (mapping) pages->file_->data = MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, 0);
  if (mapping) CloseHandle(mapping);
  pages->data_ = (uint8_t*)pages->file_->data;
  pages->bytes_ = size.QuadPart;
  if (!pages->data_) fail("LOAD", path + ": the system can't map it");
  return pages;
}
void Pages::expectUnchanged() const {}
bool Pages::changed() const { return false; }
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
namespace {
int opened(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) fail("LOAD", path + ": expected a file that can be opened, found: " + strerror(errno));
  return file;
}
struct timespec lastChange(const struct stat& found) {
#if defined(__APPLE__)
  return found.st_mtimespec;
#else
  return found.st_mtim;
#endif
}
}  // namespace

struct Pages::File {
  const std::string path;
  const int file;
  struct stat then {};
  void* data = MAP_FAILED;
  WatchedRange* range = nullptr;
  std::atomic<bool> changed{false};

  explicit File(const std::string& path) : path(path), file(opened(path)) {
    if (fstat(file, &then) == 0 && then.st_size > 0) data = mmap(nullptr, (size_t)then.st_size, PROT_READ, MAP_SHARED, file, 0);
    const int error = errno;
    if (data != MAP_FAILED) range = watchRange(data, then.st_size);
    else close(file);
    if (data == MAP_FAILED) fail("LOAD", path + ": expected a file that can be mapped, found an empty one or: " + strerror(error));
  }
  ~File() {
    forgetRange(range);
    munmap(data, (size_t)then.st_size);
    close(file);
  }
};

std::shared_ptr<Pages> Pages::ofFile(const std::string& path) {
  auto pages = std::make_shared<Pages>();
  pages->file_ = std::make_shared<File>(path);
  pages->data_ = (uint8_t*)pages->file_->data;
  pages->bytes_ = pages->file_->then.st_size;
  return pages;
}

void Pages::expectUnchanged() const {
  if (!file_) return;
  struct stat now;
  const bool known = fstat(file_->file, &now) == 0;
  const struct timespec before = lastChange(file_->then), last = known ? lastChange(now) : timespec{};
  const bool same = known && now.st_size == file_->then.st_size && last.tv_sec == before.tv_sec && last.tv_nsec == before.tv_nsec;
  if (!same || file_->range->torn) file_->changed = true;
  if (!file_->changed) return;
  const std::string size = std::to_string(file_->then.st_size);
  const std::string found = file_->range->torn || !known ? "a part that can't be read any more"
                            : now.st_size != file_->then.st_size ? std::to_string(now.st_size) + " bytes"
                                                                 : "it written to";
  fail("BACKEND", file_->path + ": expected the " + size + " bytes that were mapped when the model was loaded, found " + found +
                               "; the model can't go on: load it again, and put new files in the place of such ones by renaming");
}
bool Pages::changed() const { return file_ && file_->changed; }

LocalFile::LocalFile(const std::string& path) : handle_(opened(path)) {}
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
  const struct timespec changed = lastChange(found);
  std::string identity = path;
  for (const int64_t part : {(int64_t)found.st_dev, (int64_t)found.st_ino, (int64_t)found.st_size, (int64_t)changed.tv_sec, (int64_t)changed.tv_nsec})
    identity += ':' + std::to_string(part);
  return identity;
}
#endif

}  // namespace jamba
