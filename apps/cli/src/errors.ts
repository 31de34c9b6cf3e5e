// Errors of the command line itself, and how any error is told.

/** The command can't be understood: exit code 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** Ctrl-C. */
export class Interrupted extends Error {
  override readonly name = "Interrupted";
}

/** The reader of stdout left, as `| head` does: an end like any other. */
export class OutputClosed extends Error {
  override readonly name = "OutputClosed";
}

export interface Failure {
  readonly exitCode: 1 | 2;
  readonly code: string;
  readonly message: string;
  readonly hint?: string;
}

export async function describeFailure(error: unknown): Promise<Failure> {
  if (error instanceof UsageError) return { exitCode: 2, code: "USAGE", message: error.message };
  // Not above: help and usage errors need none of the packages that this pulls in.
  const { JambaError } = await import("jamba");
  if (error instanceof JambaError) {
    const isUsage = error.code === "OPTION";
    return { exitCode: isUsage ? 2 : 1, code: error.code, message: isUsage ? inFlagNames(error.message) : error.message };
  }
  return {
    exitCode: 1,
    code: "UNEXPECTED",
    message: error instanceof Error ? error.message : String(error),
    hint: "this is a fault of jamba itself; JAMBA_DEBUG=1 shows where it happened",
  };
}

/** The API's option names begin its messages: maxTokens is --max-tokens here. */
function inFlagNames(message: string): string {
  return message.replace(
    /^(backend|dtype|threads|contextLength|maxTokens|temperature|top[KP]|minP|repetitionPenalty|stop|seed)(?=:)/,
    (name) => `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`,
  );
}
