import { Brain, ChevronLeft, ChevronRight, FileText, Pencil, RotateCcw, Wrench } from "lucide-preact";
import { memo } from "preact/compat";
import { useEffect, useRef, useState } from "preact/hooks";
import { textOf } from "../storage/conversations.ts";
import type { ChatMessage } from "../transport/index.ts";
import { count } from "./format.ts";
import { CopyButton, Markdown } from "./markdown.tsx";
import type { OpenConversation } from "./open-conversation.ts";

type ChatPart = ChatMessage["parts"][number];

export interface MessageProps {
  readonly message: ChatMessage;
  readonly conversation: OpenConversation;
  readonly isGrowing: boolean;
  /** Ids of what stands in its place. */
  readonly siblings: string;
}

export const Message = memo(function Message({ message, conversation, isGrowing, siblings }: MessageProps) {
  const [isEditing, setEditing] = useState(false);
  const isUser = message.role === "user";
  return (
    <article class={`message ${message.role}`} aria-label={isUser ? "You" : "Jamba"} data-id={message.id}>
      {isEditing ? (
        <Edit text={textOf(message)} onEnd={() => setEditing(false)} onSend={(text) => conversation.edit(message.id, text)} />
      ) : (
        <div class="bubble">
          {message.parts.map((part, i) => (
            // Parts only ever grow at the end.
            <Part key={i} part={part} isUser={isUser} isGrowing={isGrowing && i === message.parts.length - 1} />
          ))}
          {isGrowing && message.parts.every(({ type }) => type === "step-start") && <Reading />}
        </div>
      )}
      {!isEditing && !isGrowing && (
        <footer class="message-tools">
          <Branches id={message.id} siblings={siblings.split(" ")} conversation={conversation} />
          <CopyButton text={textOf(message)} label={isUser ? "Copy message" : "Copy answer"} />
          {isUser ? (
            <button
              type="button"
              class="icon-button small"
              title="Edit: begins a branch"
              aria-label="Edit message"
              onClick={() => setEditing(true)}
            >
              <Pencil size={15} />
            </button>
          ) : (
            <button
              type="button"
              class="icon-button small"
              title="Another answer, beside this one"
              aria-label="Regenerate answer"
              onClick={() => void conversation.regenerate(message.id)}
            >
              <RotateCcw size={15} />
            </button>
          )}
          {!isUser && <Figures message={message} />}
        </footer>
      )}
    </article>
  );
});

/** Before the first word. */
export function Reading() {
  return (
    <p class="reading" role="status">
      <span class="dots" aria-hidden="true">
        <i />
        <i />
        <i />
      </span>
      <span class="visually-hidden">Reading</span>
    </p>
  );
}

function Part({ part, isUser, isGrowing }: { part: ChatPart; isUser: boolean; isGrowing: boolean }) {
  if (part.type === "text") {
    if (!isUser) return <Markdown text={part.text} isGrowing={isGrowing} />;
    return (
      <p class="said" dir="auto">
        {part.text}
      </p>
    );
  }
  if (part.type === "reasoning") return <Thoughts text={part.text} isGrowing={isGrowing} />;
  if (part.type === "file") {
    return (
      <p class="file">
        <FileText size={16} /> {part.filename ?? "a document"}
      </p>
    );
  }
  if (part.type === "dynamic-tool") return <ToolCall part={part} />;
  return null;
}

function Thoughts({ text, isGrowing }: { text: string; isGrowing: boolean }) {
  return (
    <details class="folded">
      <summary>
        <Brain size={16} /> {isGrowing ? "Thinking…" : "Thoughts"}
      </summary>
      <Markdown text={text} isGrowing={isGrowing} />
    </details>
  );
}

function ToolCall({ part }: { part: Extract<ChatPart, { type: "dynamic-tool" }> }) {
  const isDone = part.state === "output-available" || part.state === "output-error";
  const input = part.input as Record<string, unknown> | undefined;
  const given = Object.values(input ?? {})
    .map(String)
    .join(", ");
  const found = part.state === "output-error" ? part.errorText : part.state === "output-available" ? said(part.output) : "…";
  return (
    <details class="folded tool">
      <summary>
        <Wrench size={16} />
        <span>
          <b>{part.toolName}</b>({given}) {isDone && "→"} {found}
        </span>
      </summary>
      <pre>{JSON.stringify({ input: part.input, output: part.output, error: part.errorText }, null, 2)}</pre>
    </details>
  );
}

/** What a tool returned, in a few words. */
function said(output: unknown): string {
  if (typeof output === "string" && output.startsWith("{")) {
    try {
      return said(JSON.parse(output));
    } catch {} // a text after all
  }
  if (typeof output !== "object" || output === null) return String(output);
  return Object.entries(output)
    .map(([name, value]) => (value === true ? name : String(value)))
    .join(", ");
}

function Branches({ id, siblings, conversation }: { id: string; siblings: readonly string[]; conversation: OpenConversation }) {
  if (siblings.length < 2) return null;
  const at = siblings.indexOf(id);
  return (
    // biome-ignore lint/a11y/useSemanticElements: a fieldset is for what is filled in
    <span class="branches" role="group" aria-label={`Branch ${at + 1} of ${siblings.length}`}>
      <button
        type="button"
        class="icon-button small"
        aria-label="Branch before"
        disabled={at <= 0}
        onClick={() => void conversation.show(siblings[at - 1])}
      >
        <ChevronLeft size={15} />
      </button>
      <span aria-hidden="true">
        {at + 1}/{siblings.length}
      </span>
      <button
        type="button"
        class="icon-button small"
        aria-label="Next branch"
        disabled={at === siblings.length - 1}
        onClick={() => void conversation.show(siblings[at + 1])}
      >
        <ChevronRight size={15} />
      </button>
    </span>
  );
}

function Figures({ message: { metadata } }: { message: ChatMessage }) {
  if (!metadata) return null;
  const { usage, timings, finishReason, cacheMissReason, dropped, readBefore = 0 } = metadata;
  const { cacheReadTokens = 0, noCacheTokens = 0 } = usage.inputTokenDetails;
  const end = finishReason === "cancelled" ? "stopped" : finishReason === "length" ? "cut at its limit" : undefined;
  const said = [
    timings && timings.tokensPerSecond > 0 && `${count(Math.round(timings.tokensPerSecond))} tokens/s`,
    `read ${count(noCacheTokens)}, kept ${count(cacheReadTokens)}`,
    end,
    dropped?.length ? `${dropped.length} messages had no room` : undefined,
  ].filter(Boolean);
  return (
    <span
      class="figures"
      data-again={readBefore - cacheReadTokens}
      data-read={noCacheTokens}
      data-kept={cacheReadTokens}
      data-end={finishReason}
      title={cacheMissReason ?? "Tokens of the prompt that were read, and that were kept from before"}
    >
      {said.join(" · ")}
    </span>
  );
}

function Edit({ text, onEnd, onSend }: { text: string; onEnd(): void; onSend(text: string): void }) {
  const [value, setValue] = useState(text);
  const area = useRef<HTMLTextAreaElement>(null);
  // A button was pressed to write here.
  useEffect(() => area.current!.focus(), []);
  const send = () => {
    if (!value.trim()) return;
    onEnd();
    if (value !== text) onSend(value);
  };
  return (
    <form
      class="edit"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <textarea
        ref={area}
        dir="auto"
        aria-label="Edit message"
        value={value}
        rows={Math.min(12, value.split("\n").length + 1)}
        onInput={(event) => setValue(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key === "Escape") onEnd();
          if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
            event.preventDefault();
            send();
          }
        }}
      />
      <div class="row">
        <button type="button" class="quiet" onClick={onEnd}>
          Cancel
        </button>
        <button type="submit" class="primary" disabled={!value.trim()}>
          Send as a branch
        </button>
      </div>
    </form>
  );
}
