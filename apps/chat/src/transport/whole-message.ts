// What an answer comes to, from the chunks that it came in: what the AI SDK makes of them, without its 13 kB, in the worker that has no other
// use for it. Whole at once, where the SDK makes a message anew with each chunk.

import type { DynamicToolUIPart } from "ai";
import type { ChatMessage, UiChunk } from "./index.ts";

type ChatPart = ChatMessage["parts"][number];
type TextPart = Extract<ChatPart, { type: "text" | "reasoning" }>;

/** Undefined where it said nothing. Of a call that is not whole yet the name alone. */
export function wholeOf(chunks: readonly UiChunk[]): ChatMessage | undefined {
  const message: ChatMessage = { id: "", role: "assistant", parts: [] };
  const { parts } = message;
  let open: TextPart | undefined;
  const putCall = (toolCallId: string, more: Partial<DynamicToolUIPart>) => {
    const at = parts.findLastIndex((part) => part.type === "dynamic-tool" && part.toolCallId === toolCallId);
    const before = at < 0 ? { type: "dynamic-tool" as const, toolCallId } : parts[at];
    parts[at < 0 ? parts.length : at] = { ...before, ...more } as DynamicToolUIPart;
  };
  for (const chunk of chunks) {
    if ("messageMetadata" in chunk && chunk.messageMetadata) message.metadata = { ...message.metadata, ...chunk.messageMetadata };
    switch (chunk.type) {
      case "start":
        message.id = chunk.messageId!;
        break;
      case "start-step":
        parts.push({ type: "step-start" });
        break;
      case "text-start":
      case "reasoning-start":
        open = { ...(chunk.type === "text-start" ? { type: "text" } : { type: "reasoning", id: chunk.id }), text: "", state: "streaming" };
        parts.push(open);
        break;
      case "text-delta":
      case "reasoning-delta":
        open!.text += chunk.delta;
        break;
      case "text-end":
      case "reasoning-end":
        open!.state = "done";
        break;
      case "tool-input-start":
        putCall(chunk.toolCallId, { toolName: chunk.toolName, state: "input-streaming" });
        break;
      case "tool-input-available":
        putCall(chunk.toolCallId, { toolName: chunk.toolName, state: "input-available", input: chunk.input });
        break;
      case "tool-input-error":
        putCall(chunk.toolCallId, { toolName: chunk.toolName, state: "output-error", input: chunk.input, errorText: chunk.errorText });
        break;
      case "tool-output-available":
        putCall(chunk.toolCallId, { state: "output-available", output: chunk.output });
        break;
      case "tool-output-error":
        putCall(chunk.toolCallId, { state: "output-error", errorText: chunk.errorText });
    }
  }
  return parts.some(({ type }) => type !== "step-start") ? message : undefined;
}
