export { AnswerLog } from "./answer-log.ts";
export { type ChatMessage, type ChatMetadata, toJambaMessages } from "./messages.ts";
export { type Answering, type AnswerOptions, JambaTransport } from "./transport.ts";
export { type UiChunk, uiChunks } from "./ui-chunks.ts";
