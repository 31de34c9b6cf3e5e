import { useChat } from "@ai-sdk/react";
import { ArrowDown, RotateCcw } from "lucide-preact";
import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import type { ModelStatus } from "../channel/service.ts";
import { siblingsOf } from "../storage/conversations.ts";
import type { Client } from "./client.ts";
import { Composer } from "./composer.tsx";
import { Message, Reading } from "./message.tsx";
import { isEmpty, type OpenConversation } from "./open-conversation.ts";
import { set, settings } from "./settings.ts";
import { useStore } from "./use-store.ts";

/** Messages that are shown at first, and more of them each time: as many as are made within a frame. */
const someMessages = 4;
/** How often an answer is drawn anew while it comes, in milliseconds. */
const drawMs = 50;

const suggestions: readonly { readonly title: string; readonly text: string; readonly tools?: boolean }[] = [
  { title: "Tell a story", text: "Write a story about Mia, a fox and a silver boat." },
  {
    title: "Remember something",
    text: "The secret word of the owl is lantern. Sam walked to the beach, and he saw a boat. Which secret word does the owl have?",
  },
  { title: "Use a tool", text: "Paint the boat blue.", tools: true },
];

export interface ChatViewProps {
  readonly client: Client;
  readonly conversation: OpenConversation;
  /** The form that fills itself. */
  onForm(): void;
}

export function ChatView({ client, conversation, onForm }: ChatViewProps) {
  const { messages, status, error, clearError } = useChat({ chat: conversation.chat, experimental_throttle: drawMs });
  const model = useStore(client.model);
  const tree = useStore(conversation.tree);
  const trouble = useStore(conversation.trouble);
  const isBusy = status === "submitted" || status === "streaming";
  const said = !isBusy && isEmpty(messages.at(-1)) ? messages.slice(0, -1) : messages;
  const send = (text: string, files: Parameters<OpenConversation["send"]>[1] = []) => {
    clearError();
    void conversation.send(text, files);
  };
  return (
    <div class="chat">
      <Messages key={tree.id} messages={said} conversation={conversation} isBusy={isBusy}>
        {messages.length === 0 && <Welcome model={model} onPick={send} onForm={onForm} />}
        {status === "submitted" && messages.at(-1)?.role === "user" && (
          <article class="message assistant" aria-label="Jamba">
            {model.phase === "ready" ? <Reading /> : <p class="waiting">Answers as soon as the model is there.</p>}
          </article>
        )}
        {model.phase === "failed" && (
          <div class="notice failed" role="alert">
            <p>
              {model.name} could not be loaded. {model.error}
            </p>
            <button type="button" class="quiet" onClick={() => client.load({ kind: "small" })}>
              Use the small model
            </button>
          </div>
        )}
        {model.lost && model.phase === "loading" && !error && (
          <div class="notice" role="status">
            <p>{model.lost}. The model is being loaded again, on the processor.</p>
          </div>
        )}
        {error && (
          <div class="notice failed" role="alert">
            <p>{error.message}</p>
            <button type="button" class="quiet" onClick={() => void conversation.regenerate()}>
              <RotateCcw size={15} /> Try again
            </button>
          </div>
        )}
        {status === "ready" && said.at(-1)?.role === "user" && (
          <div class="notice">
            <p>This was not answered.</p>
            <button type="button" class="quiet" onClick={() => void conversation.regenerate()}>
              <RotateCcw size={15} /> Answer it
            </button>
          </div>
        )}
        {trouble && (
          <div class="notice" role="alert">
            <p>This conversation is not kept: {trouble}</p>
          </div>
        )}
      </Messages>
      <Composer
        isBusy={isBusy}
        isReady={model.phase === "ready"}
        placeholder={messages.length > 0 ? "Reply" : "Write a message"}
        onSend={send}
        onStop={() => void conversation.stop()}
      />
    </div>
  );
}

interface MessagesProps {
  readonly messages: OpenConversation["chat"]["messages"];
  readonly conversation: OpenConversation;
  readonly isBusy: boolean;
  readonly children: ComponentChildren;
}

function Messages({ messages, conversation, isBusy, children }: MessagesProps) {
  const [shown, setShown] = useState(someMessages);
  const box = useRef<HTMLDivElement>(null);
  const top = useRef<HTMLButtonElement>(null);
  /** Whether it follows what comes. */
  const follows = useRef(true);
  const lastTop = useRef(0);
  const [isAway, setAway] = useState(false);
  const hidden = Math.max(0, messages.length - shown);
  const tree = useStore(conversation.tree);
  const siblings = useMemo(() => siblingsOf(tree), [tree]);

  useLayoutEffect(() => {
    const { current } = box;
    // Where nothing was said there is no end; to ask for it lays the page out.
    if (current && follows.current && messages.length > 0) current.scrollTop = current.scrollHeight;
  });
  // Colours, maths and what is laid out when it is seen make it longer later.
  useEffect(() => {
    const { current } = box;
    const observer = new ResizeObserver(() => {
      if (follows.current) current!.scrollTop = current!.scrollHeight;
    });
    observer.observe(current!.firstElementChild!);
    return () => observer.disconnect();
  }, []);
  useEffect(() => {
    const { current } = top;
    if (!current) return;
    // Several where the page was busy: the last one is how it is.
    const observer = new IntersectionObserver((entries) => entries.at(-1)!.isIntersecting && showEarlier(), {
      root: box.current,
      rootMargin: "400px",
    });
    observer.observe(current);
    return () => observer.disconnect();
  });
  const showEarlier = () => {
    const { current } = box;
    const fromEnd = current ? current.scrollHeight - current.scrollTop : 0;
    setShown((before) => before + someMessages);
    // What is looked at stays where it is.
    requestAnimationFrame(() => {
      if (current && !follows.current) current.scrollTop = current.scrollHeight - fromEnd;
    });
  };
  const toEnd = () => {
    follows.current = true;
    box.current!.scrollTop = box.current!.scrollHeight;
  };
  return (
    <>
      <div
        ref={box}
        class="messages"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
        tabIndex={0}
        role="log"
        aria-label="Conversation"
        aria-busy={isBusy}
        onScroll={({ currentTarget: { scrollHeight, scrollTop, clientHeight } }) => {
          const isEnd = scrollHeight - scrollTop - clientHeight < 60;
          // What grows below takes nobody away: only who scrolls up goes.
          follows.current = isEnd || (follows.current && scrollTop >= lastTop.current);
          lastTop.current = scrollTop;
          setAway(!follows.current);
        }}
      >
        <div class="column">
          {hidden > 0 && (
            <button ref={top} type="button" class="quiet earlier" onClick={showEarlier}>
              Show earlier messages ({hidden})
            </button>
          )}
          {messages.slice(hidden).map((message, i) => (
            <Message
              key={message.id}
              message={message}
              conversation={conversation}
              isGrowing={isBusy && hidden + i === messages.length - 1 && message.role === "assistant"}
              siblings={siblings.get(message.id)?.join(" ") ?? ""}
            />
          ))}
          {children}
        </div>
      </div>
      {isAway && (
        <button type="button" class="to-end" aria-label="To the end" onClick={toEnd}>
          <ArrowDown size={18} />
        </button>
      )}
    </>
  );
}

interface WelcomeProps {
  readonly model: ModelStatus;
  onPick(text: string): void;
  onForm(): void;
}

function Welcome({ model, onPick, onForm }: WelcomeProps) {
  // Before it is known what is loaded, what will be: so nothing moves.
  const { model: preferred } = useStore(settings);
  return (
    <section class="welcome">
      <h2>Jamba, in this tab</h2>
      <p>The model runs on your machine. What you write is sent nowhere.</p>
      {typeof SharedArrayBuffer === "undefined" && (
        <p class="notice" role="status">
          <span>
            One thread: this {crossOriginIsolated ? "browser" : "host"} does not let the page share memory, so the model has one processor
            and answers more slowly. Everything else works.
          </span>
        </p>
      )}
      {(model.kind ?? preferred.kind) === "small" && (
        <>
          <p class="aside">
            This is the small storyteller: 6.7 million parameters, taught made-up children’s stories alone. It is here so that you can try
            everything at once.
          </p>
          <ul class="suggestions">
            {suggestions.map(({ title, text, tools }) => (
              <li key={title}>
                <button
                  type="button"
                  onClick={() => {
                    if (tools) set({ tools });
                    onPick(text);
                  }}
                >
                  <b>{title}</b>
                  <span>{text}</span>
                </button>
              </li>
            ))}
            <li>
              <button type="button" onClick={onForm}>
                <b>Fill a form</b>
                <span>Read a text, and write what a form asks for as JSON.</span>
              </button>
            </li>
          </ul>
        </>
      )}
    </section>
  );
}
