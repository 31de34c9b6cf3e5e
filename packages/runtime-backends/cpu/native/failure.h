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
 * call had allocated. So whatever outlives the call is changed after all that may fail, or else its memory `outlives` it.
 */
[[noreturn]] void fail(const char* code, const std::string& message);
/** Takes no memory. */
[[noreturn]] void fail(const char* code, const char* message);
/** What the call allocated at `data` stays, even if the call fails later. */
void outlives(const void* data);
#else
/** What a caller did wrong or the machine could not do; `code` is one of core's JambaErrorCode. */
struct Failure : std::exception {
  std::string code, message;
  Failure(std::string code, std::string message) : code(std::move(code)), message(std::move(message)) {}
  const char* what() const noexcept override { return message.c_str(); }
};

[[noreturn]] inline void fail(const char* code, const std::string& message) { throw Failure(code, message); }
inline void outlives(const void*) {}
#endif

}  // namespace jamba
