// What a worker runs: conversations to text, one at a time.

import { JambaError } from "@jamba/core";
import { type ChatOptions, renderChat } from "./chat.ts";
import type { Message } from "./messages.ts";

/** Lists come in parts, as to copy a long one at once would hold the thread that sends it. */
export type Request =
  | { readonly list: "messages" | "tools" | "documents"; readonly items: readonly unknown[] }
  | { readonly options: Omit<ChatOptions, "tools" | "documents" | "tokenizer"> };

export type Reply =
  | { readonly isReady: true }
  | { readonly text: string }
  | { readonly error: { readonly code: string; readonly message: string } };

declare const self: { postMessage(reply: Reply): void; onmessage: ((event: { data: Request }) => void) | null };

let lists: { messages: unknown[]; tools?: unknown[]; documents?: unknown[] } = { messages: [] };

self.onmessage = ({ data }) => {
  if ("list" in data) {
    lists[data.list] ??= [];
    for (const item of data.items) lists[data.list]!.push(item);
    return;
  }
  const { messages, ...others } = lists;
  lists = { messages: [] };
  self.postMessage(replyTo(messages as Message[], { ...data.options, ...others }));
};

self.postMessage({ isReady: true });

function replyTo(messages: readonly Message[], options: ChatOptions): Reply {
  try {
    return { text: renderChat(messages, options) };
  } catch (error) {
    if (!(error instanceof JambaError)) throw error;
    return { error: { code: error.code, message: error.message } };
  }
}
