// Every answer that is no answer: OpenAI's error objects, and Anthropic's. Knows what the engine's error codes mean to a client.

import { JambaError } from "jamba";
import type { FieldOf } from "./notes.ts";

export interface ErrorBody {
  readonly error: { readonly message: string; readonly type: string; readonly param: string | null; readonly code: string | null };
}

export interface ErrorDetails {
  readonly type?: string;
  /** The field at fault, as `messages[0].content`. */
  readonly param?: string;
  readonly code?: string;
  /** Seconds after which another try makes sense. */
  readonly retryAfter?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly cause?: unknown;
}

/** Characters of a message, or of a field's name: both may quote the request, which may be long, and names go into the log. */
const longest = 1000;

/** What a client is told. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly details: ErrorDetails;

  constructor(
    readonly status: number,
    message: string,
    { param, ...details }: ErrorDetails = {},
  ) {
    super(shortened(message), { cause: details.cause });
    this.details = { ...details, ...(param !== undefined && { param: shortened(param) }) };
  }

  get type(): string {
    return this.details.type ?? (this.status >= 500 ? "server_error" : "invalid_request_error");
  }

  get body(): ErrorBody {
    const { param = null, code = null } = this.details;
    return { error: { message: this.message, type: this.type, param, code } };
  }

  toResponse(body: object = this.body): Response {
    const { retryAfter, headers } = this.details;
    return Response.json(body, {
      status: this.status,
      headers: { ...headers, ...(retryAfter !== undefined && { "retry-after": String(retryAfter) }) },
    });
  }
}

function shortened(text: string): string {
  return text.length > longest ? `${text.slice(0, longest - 1).toWellFormed()}…` : text;
}

/** Whether who asks here expects Anthropic's answers. */
export function isAnthropic(path: string): boolean {
  return path === "/v1/messages" || path.startsWith("/v1/messages/");
}

const anthropicTypes: Readonly<Record<number, string>> = {
  401: "authentication_error",
  403: "permission_error",
  404: "not_found_error",
  413: "request_too_large",
  429: "rate_limit_error",
  503: "overloaded_error",
};

export function anthropicBody({ status, message }: ApiError, requestId: string): object {
  const type = anthropicTypes[status] ?? (status >= 500 ? "api_error" : "invalid_request_error");
  return { type: "error", error: { type, message }, request_id: requestId };
}

export function badRequest(param: string, message: string, code = "invalid_value"): ApiError {
  return new ApiError(400, `${param}: ${message}`, { param, code });
}

export function shuttingDown(cause?: unknown): ApiError {
  return new ApiError(503, "The server is shutting down.", {
    code: "shutting_down",
    retryAfter: 5,
    headers: { connection: "close" },
    cause,
  });
}

export function modelLoading(): ApiError {
  return new ApiError(503, "Loading model", { type: "unavailable_error", code: "model_loading", retryAfter: 1 });
}

export function modelFailed(cause: unknown): ApiError {
  return new ApiError(503, "The model could not be loaded. The server's log says why.", { code: "model_failed", cause });
}

/** @param need and `budget` in bytes; the budget is for all models together. Of both the log tells alone */
export function modelTooLarge(name: string, need: number, budget: number): ApiError {
  const [least, all] = [need, budget].map((bytes) => bytes.toLocaleString("en"));
  const message = `model: ${JSON.stringify(name)} takes ${least} bytes at least, and this server has ${all} for all its models; it needs more memory, a smaller dtype or a shorter context`;
  const cause = new JambaError("OUT_OF_MEMORY", message);
  const told = `model: ${JSON.stringify(name)} takes more memory than this server has for all its models; its log says how much`;
  // Clients that try again after a 5xx would only fail again.
  return new ApiError(507, told, { code: "model_too_large", param: "model", headers: { "x-should-retry": "false" }, cause });
}

/** @param model that they wait for, while it is not there */
export function tooManyRequests(model?: string): ApiError {
  const behind = model === undefined ? "" : ` for ${JSON.stringify(model)}`;
  return new ApiError(429, `Too many requests wait already${behind}. Try again later.`, {
    type: "rate_limit_error",
    code: "rate_limit_exceeded",
    retryAfter: 2,
  });
}

/** What is left of the body is read for half a second and dropped: a client that still sends would else miss what it is told. */
export function bodyTooLarge(maxBytes: number): ApiError {
  return new ApiError(413, `body: expected at most ${maxBytes} bytes, found more`, { code: "request_too_large" });
}

/** For bodies that there is no room for. */
export function busy(): ApiError {
  return new ApiError(503, "The server has no room for this body now. Try again later.", {
    type: "overloaded_error",
    code: "server_busy",
    retryAfter: 2,
  });
}

/** Options whose names on the wire are not just the same in snake_case. */
const wireNames: Readonly<Record<string, string>> = {
  repetitionPenalty: "repeat_penalty",
  format: "response_format",
  ids: "prompt",
  decode: "tokens",
  encode: "content",
};

/**
 * @param error anything that was thrown while a request was served
 * @param fieldOf the request's own words for the engine's options
 */
export function toApiError(error: unknown, fieldOf: FieldOf = () => undefined): ApiError {
  if (error instanceof ApiError) return error;
  if (error instanceof DOMException && error.name === "TimeoutError")
    return new ApiError(503, "The request took longer than this server allows before its first token.", {
      code: "timeout",
      retryAfter: 5,
      cause: error,
    });
  if (!(error instanceof JambaError)) return internal(error);
  const { param, message } = onTheWire(error.message, fieldOf);
  switch (error.code) {
    case "CONTEXT_FULL":
      return new ApiError(400, message, { param: fieldOf("messages") ?? "messages", code: "context_length_exceeded", cause: error });
    case "OPTION":
    case "SHAPE":
    case "TOKENIZER":
      return new ApiError(400, message, { param, code: "invalid_value", cause: error });
    // What is wrong with files is told without their paths, and without anything that stands in them.
    case "LOAD":
      return unfit("load", "expected the file of a saved conversation, whole and readable, found none", error);
    case "SESSION_MISMATCH":
      return unfit("session_mismatch", "expected a conversation of this model as it is loaded here, found another's", error);
    case "DISK_FULL":
      return new ApiError(507, "The server's disk has no room for this.", {
        type: "insufficient_storage",
        code: "disk_full",
        cause: error,
      });
    case "UNSUPPORTED":
      return new ApiError(400, message, { param, code: "unsupported", cause: error });
    case "OUT_OF_MEMORY":
      return new ApiError(503, "The server has no memory for this now.", { code: "out_of_memory", retryAfter: 5, cause: error });
    case "DISPOSED":
      return shuttingDown(error);
    default:
      return internal(error);
  }
}

function unfit(code: string, message: string, cause: unknown): ApiError {
  return new ApiError(400, `filename: ${message}`, { param: "filename", code, cause });
}

/** Says nothing of what went wrong inside; the log does. */
function internal(cause: unknown): ApiError {
  return new ApiError(500, "The server failed while it answered this request. Its log says why.", { code: "internal_error", cause });
}

/** The engine's messages begin with what they are about: `maxTokens: expected …`. The keys of a schema may be any text. */
function onTheWire(message: string, fieldOf: FieldOf): { param?: string; message: string } {
  const name = /^([A-Za-z][\w.[\]]*|(?:format\.schema|tools\[\d+\]).*?): /s.exec(message)?.[1];
  if (name === undefined) return { message };
  const [first] = name.split(/[.[]/, 1);
  const wire = wireNames[first] ?? first.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  const param = fieldOf(name) ?? wire + name.slice(first.length);
  return { param, message: param + message.slice(name.length) };
}
