// Every error that jamba throws on purpose is a JambaError with a stable code.

export type JambaErrorCode =
  | "SHAPE"
  | "DTYPE"
  | "LOAD"
  | "BACKEND"
  | "TOKENIZER"
  | "OPTION"
  | "UNSUPPORTED"
  | "CONTEXT_FULL"
  | "OUT_OF_MEMORY"
  | "DISK_FULL"
  | "SESSION_MISMATCH"
  | "DISPOSED"
  | "DEVICE_LOST";

/** The message says what was expected, what was found, where, and what to do. `code` never changes between versions. */
export class JambaError extends Error {
  override readonly name: string = "JambaError";

  constructor(
    readonly code: JambaErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** Shapes that do not fit together, found when an op is recorded or a step is submitted. */
export class ShapeError extends JambaError {
  override readonly name = "ShapeError";
  constructor(message: string, options?: ErrorOptions) {
    super("SHAPE", message, options);
  }
}

/** A dtype that the op, the backend or the file format can't hold. */
export class DtypeError extends JambaError {
  override readonly name = "DtypeError";
  constructor(message: string, options?: ErrorOptions) {
    super("DTYPE", message, options);
  }
}

/** A checkpoint or another file that is missing, damaged, or not a Jamba's; with DISK_FULL one that there is no room to write. */
export class LoadError extends JambaError {
  override readonly name = "LoadError";
  constructor(message: string, { code = "LOAD", ...options }: ErrorOptions & { readonly code?: "LOAD" | "DISK_FULL" } = {}) {
    super(code, message, options);
  }
}

/** A backend that can't be opened or that failed in a step. */
export class BackendError extends JambaError {
  override readonly name = "BackendError";
  constructor(message: string, options?: ErrorOptions) {
    super("BACKEND", message, options);
  }
}

/** A tokenizer or chat template that can't be read or applied. */
export class TokenizerError extends JambaError {
  override readonly name = "TokenizerError";
  constructor(message: string, options?: ErrorOptions) {
    super("TOKENIZER", message, options);
  }
}
