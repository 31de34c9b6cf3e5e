// An answer of jamba as the AI SDK streams it to its chats. Knows no transport.

import type { FinishReason, UIMessageChunk } from "ai";
import type { AnswerCall, Part, Result, TextStream, ToolResult } from "jamba";
import type { ChatMetadata } from "./messages.ts";

export type UiChunk = UIMessageChunk<ChatMetadata>;

export interface UiChunksOptions {
  /** Of the message that is being written. */
  readonly messageId: string;
  /** More that is told with the end of the answer. */
  readonly metadata?: Partial<ChatMetadata>;
}

/**
 * Never throws: what goes wrong is a chunk of type "error", and a cancel one of type "abort" after the metadata of what there is, as a chat
 * expects it. Calls of tools are dynamic, so that a page needs no types of them.
 */
export async function* uiChunks(
  stream: Pick<TextStream, "result"> & AsyncIterable<Part>,
  { messageId, metadata }: UiChunksOptions,
): AsyncGenerator<UiChunk> {
  const blocks = new Blocks();
  yield { type: "start", messageId };
  yield { type: "start-step" };
  let round = 0;
  try {
    for await (const part of stream) {
      if (part.round !== undefined && part.round !== round) {
        round = part.round;
        yield* blocks.end();
        yield { type: "finish-step" };
        yield { type: "start-step" };
      }
      if (part.usage) yield { type: "message-metadata", messageMetadata: { usage: usageOf({ ...part.usage, completionTokens: 0 }) } };
      for (const piece of part.pieces) yield* blocks.push(piece);
      if (part.toolResult) {
        yield* blocks.end();
        yield* blocks.result(part.toolResult);
      }
    }
    const result = await stream.result;
    yield* blocks.end();
    yield* blocks.calls(result.toolCalls);
    yield { type: "finish-step" };
    const messageMetadata = { ...metadataOf(result), ...metadata };
    if (result.finishReason !== "cancelled")
      yield { type: "finish", finishReason: result.finishReason satisfies FinishReason, messageMetadata };
    else {
      yield { type: "message-metadata", messageMetadata };
      yield { type: "abort", reason: reasonOf(result.cancelReason) };
    }
  } catch (error) {
    yield* blocks.end();
    yield { type: "error", errorText: reasonOf(error) };
  }
}

function metadataOf({ usage, finishReason, cacheMissReason, dropped, timings, reasoning }: Result): ChatMetadata {
  return { usage: usageOf(usage, reasoning === ""), finishReason, cacheMissReason, dropped, timings };
}

/** jamba does not count thoughts apart: unknown, unless there were none. */
function usageOf({ promptTokens, cachedTokens, completionTokens }: Result["usage"], hasNoThoughts = false): ChatMetadata["usage"] {
  return {
    inputTokens: promptTokens,
    inputTokenDetails: { noCacheTokens: promptTokens - cachedTokens, cacheReadTokens: cachedTokens, cacheWriteTokens: undefined },
    outputTokens: completionTokens,
    outputTokenDetails: { textTokens: undefined, reasoningTokens: hasNoThoughts ? 0 : undefined },
    totalTokens: promptTokens + completionTokens,
  };
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

type Piece = Part["pieces"][number];

/** Which part of the message is open, and which calls there are. */
class Blocks {
  #open: { readonly type: "text" | "reasoning"; readonly id: string } | undefined;
  #count = 0;
  /** Ids of the calls of this round, by their index. */
  readonly #callIds = new Map<number, string>();
  /** Calls whose arguments are out. */
  readonly #told = new Set<string>();

  *push(piece: Piece): Generator<UiChunk> {
    if ("text" in piece) yield* this.#write("text", piece.text);
    else if ("reasoning" in piece) yield* this.#write("reasoning", piece.reasoning);
    else {
      yield* this.end();
      const { index, id, name, argumentsDelta } = piece.toolCall;
      if (id !== undefined && name !== undefined) {
        this.#callIds.set(index, id);
        yield { type: "tool-input-start", toolCallId: id, toolName: name, dynamic: true };
      }
      const toolCallId = this.#callIds.get(index);
      if (toolCallId !== undefined && argumentsDelta) yield { type: "tool-input-delta", toolCallId, inputTextDelta: argumentsDelta };
    }
  }

  *#write(type: "text" | "reasoning", delta: string): Generator<UiChunk> {
    if (this.#open?.type !== type) {
      yield* this.end();
      this.#open = { type, id: `${type}-${this.#count++}` };
      yield { type: `${type}-start`, id: this.#open.id };
    }
    yield { type: `${type}-delta`, id: this.#open.id, delta };
  }

  *end(): Generator<UiChunk> {
    if (this.#open) yield { type: `${this.#open.type}-end`, id: this.#open.id };
    this.#open = undefined;
  }

  *result({ id, name, arguments: input, result, error }: ToolResult): Generator<UiChunk> {
    yield* this.#tell(id, name, input);
    if (error !== undefined) yield { type: "tool-output-error", toolCallId: id, errorText: reasonOf(error), dynamic: true };
    else yield { type: "tool-output-available", toolCallId: id, output: result ?? null, dynamic: true };
  }

  /** Those that nobody ran. */
  *calls(calls: readonly AnswerCall[]): Generator<UiChunk> {
    for (const { id, name, arguments: input, incomplete, json } of calls) {
      if (!incomplete) yield* this.#tell(id, name, input);
      else
        yield {
          type: "tool-input-error",
          toolCallId: id,
          toolName: name,
          input: json,
          errorText: "The answer ended within this call.",
          dynamic: true,
        };
    }
  }

  *#tell(toolCallId: string, toolName: string, input: unknown): Generator<UiChunk> {
    if (this.#told.has(toolCallId)) return;
    this.#told.add(toolCallId);
    yield { type: "tool-input-available", toolCallId, toolName, input, dynamic: true };
  }
}
