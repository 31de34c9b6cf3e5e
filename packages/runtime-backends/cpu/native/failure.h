// The one error that the native side throws.
#pragma once
#include <string>

#if !defined(__wasm__)
#include <exception>
#endif

namespace jamba {

#if defined(__wasm__)
/**
 * Ends the call by an import that throws in JavaScript. Nothing on the stack is unwound and no destructor runs: the door frees what the
 * call had allocated, so whatever outlives the call is changed only after all that may fail.
 */
[[noreturn]] void fail(const char* code, const std::string& message);
/** Takes no memory. */
[[noreturn]] void fail(const char* code, const char* message);
#else
/** What a caller did wrong or the machine could not do; `code` is one of core's JambaErrorCode. */
struct Failure : std::exception {
  std::string code, message;
  Failure(std::string code, std::string message) : code(std::move(code)), message(std::move(message)) {}
  const char* what() const noexcept override { return message.c_str(); }
};

[[noreturn]] inline void fail(const char* code, const std::string& message) { throw Failure(code, message); }
#endif

}  // namespace jamba
