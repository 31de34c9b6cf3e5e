// Messages of the AI SDK's chat, as the model reads them, and what an answer tells beside its parts.

import type { LanguageModelUsage, UIMessage } from "ai";
import type { Message, Result } from "jamba";

/** Of an answer. Its first tokens bring `usage` of the prompt, its end the rest. */
export interface ChatMetadata {
  /** `inputTokenDetails.cacheReadTokens` counts the tokens of the prompt that were not read again. */
  readonly usage: LanguageModelUsage;
  readonly finishReason?: Result["finishReason"];
  /** Why less than half of the prompt was there already. */
  readonly cacheMissReason?: string;
  /** Indices of the messages that had no room in the context, see `truncation`. */
  readonly dropped?: readonly number[];
  readonly timings?: Result["timings"];
  /** Tokens that the conversation had read up to the last answer, where that is known: what of them was not cached is read again. */
  readonly readBefore?: number;
}

export type ChatMessage = UIMessage<ChatMetadata>;

type ChatPart = UIMessage["parts"][number];

/**
 * Thoughts go along, so that what was read stays as it was; files of text come before what is asked of them.
 * @throws TypeError for a file that is no text, which no Jamba model reads
 */
export function toJambaMessages(messages: readonly UIMessage[]): Message[] {
  return messages.flatMap(({ role, parts }) =>
    role === "assistant" ? roundsOf(parts).flatMap(fromRound) : [{ role, content: asked(parts) }],
  );
}

function asked(parts: readonly ChatPart[]): string {
  const files = parts.flatMap((part) => (part.type === "file" ? [textOfFile(part)] : []));
  return [...files, textOf(parts)].filter(Boolean).join("\n\n");
}

function textOf(parts: readonly ChatPart[]): string {
  return parts.map((part) => (part.type === "text" ? part.text : "")).join("");
}

type FilePart = Extract<ChatPart, { type: "file" }>;

function textOfFile({ mediaType, url, filename = "a file" }: FilePart): string {
  const found = /^data:[^,]*?(;base64)?,(.*)$/s.exec(url);
  if (!found || !/^(text\/|application\/(json|xml|yaml|x-yaml|javascript))/.test(mediaType))
    throw new TypeError(`${filename}: expected a text in a data: URL, found ${mediaType}; Jamba models read text alone`);
  const [, base64, body] = found;
  if (!base64) return decodeURIComponent(body);
  return new TextDecoder().decode(Uint8Array.from(atob(body), (char) => char.charCodeAt(0)));
}

/** The answers of one message: each ends with its calls, whose results the next one goes on from. */
function roundsOf(parts: readonly ChatPart[]): ChatPart[][] {
  const rounds: ChatPart[][] = [[]];
  for (const part of parts) {
    if (part.type === "step-start" && rounds.at(-1)!.length > 0) rounds.push([]);
    else if (part.type !== "step-start") rounds.at(-1)!.push(part);
  }
  return rounds;
}

function fromRound(parts: readonly ChatPart[]): Message[] {
  const reasoning = parts.map((part) => (part.type === "reasoning" ? part.text : "")).join("");
  const calls = parts.flatMap((part) => ("toolCallId" in part ? [part] : []));
  const nameOf = (part: (typeof calls)[number]) => ("toolName" in part ? part.toolName : part.type.slice("tool-".length));
  const toolCalls = calls.map((part) => ({ id: part.toolCallId, name: nameOf(part), arguments: part.input as Record<string, unknown> }));
  const results = calls.flatMap((part): Message[] => {
    if (part.state !== "output-available" && part.state !== "output-error") return [];
    const content = part.state === "output-error" ? part.errorText : part.output;
    return [
      {
        role: "tool",
        toolCallId: part.toolCallId,
        name: nameOf(part),
        content: typeof content === "string" ? content : JSON.stringify(content),
      },
    ];
  });
  return [
    { role: "assistant", content: textOf(parts), ...(reasoning && { reasoning }), ...(toolCalls.length > 0 && { toolCalls }) },
    ...results,
  ];
}
