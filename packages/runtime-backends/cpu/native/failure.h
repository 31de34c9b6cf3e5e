// The one error that the native side throws.
#pragma once
#include <exception>
#include <string>

namespace jamba {

/** What a caller did wrong or the machine could not do; `code` is one of core's JambaErrorCode. */
struct Failure : std::exception {
  std::string code, message;
  Failure(std::string code, std::string message) : code(std::move(code)), message(std::move(message)) {}
  const char* what() const noexcept override { return message.c_str(); }
};

}  // namespace jamba
