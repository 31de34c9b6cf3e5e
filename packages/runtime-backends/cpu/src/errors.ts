// Errors of the addon carry a code of core's and become its classes; those of JavaScript pass as they are.

import { BackendError, DtypeError, JambaError, type JambaErrorCode, LoadError, ShapeError } from "@jamba/core";

const classes: Partial<Record<JambaErrorCode, new (message: string, options?: ErrorOptions) => JambaError>> = {
  SHAPE: ShapeError,
  DTYPE: DtypeError,
  LOAD: LoadError,
  BACKEND: BackendError,
};

export function toJambaError(error: unknown): unknown {
  const { code, message } = error as { code?: string; message: string };
  // Codes of Node's begin with E; "ABORTED" is told apart by who cancelled.
  if (
    error instanceof JambaError ||
    !(error instanceof Error) ||
    code === undefined ||
    !/^[A-DF-Z][A-Z_]*$/.test(code) ||
    code === "ABORTED"
  )
    return error;
  const known = classes[code as JambaErrorCode];
  return known ? new known(message, { cause: error }) : new JambaError(code as JambaErrorCode, message, { cause: error });
}

export function rethrow(error: unknown): never {
  throw toJambaError(error);
}

/** @throws what `body` throws, as core's */
export function guarded<T>(body: () => T): T {
  try {
    return body();
  } catch (error) {
    throw toJambaError(error);
  }
}

/** What comes of `use`, at once where `made` is there at once. @throws as `guarded` */
export function using<T, U>(made: () => T | Promise<T>, use: (value: T) => U): U | Promise<U> {
  const value = guarded(made);
  return value instanceof Promise ? value.then(use, rethrow) : use(value);
}
