// What an answer comes to, from the chunks that it came in.

import { readUIMessageStream } from "ai";
import type { ChatMessage, UiChunk } from "./index.ts";

/** Undefined where it said nothing. All chunks at once: the SDK makes a message anew with each of them. */
export async function wholeOf(chunks: readonly UiChunk[]): Promise<ChatMessage | undefined> {
  const stream = new ReadableStream<UiChunk>({
    start(controller) {
      for (const chunk of chunks) if (chunk.type !== "error" && chunk.type !== "abort") controller.enqueue(chunk);
      controller.close();
    },
  });
  let whole: ChatMessage | undefined;
  for await (const message of readUIMessageStream<ChatMessage>({ stream })) whole = message;
  return whole?.parts.some(({ type }) => type !== "step-start") ? whole : undefined;
}
