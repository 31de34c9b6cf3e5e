export { type ChatOptions, renderChat } from "./chat.ts";
export { renderChatAsync } from "./chat-async.ts";
export { continuedWords } from "./final-message.ts";
export type { Message, ToolCall } from "./messages.ts";
export { StreamDecoder } from "./stream-decoder.ts";
export { loadTokenizer, type Tokenizer, type TokenizerOptions } from "./tokenizer.ts";
export { parseToolCalls } from "./tool-calls.ts";
