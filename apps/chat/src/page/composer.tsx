import type { FileUIPart } from "ai";
import { ArrowUp, FileText, Paperclip, Square, Wrench, X } from "lucide-preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { bytes } from "./format.ts";
import { set, settings } from "./settings.ts";
import { useStore } from "./use-store.ts";

/** Longer documents would be more than most models' contexts. */
const mostDocumentBytes = 2 ** 21;

export interface ComposerProps {
  readonly isBusy: boolean;
  readonly isReady: boolean;
  readonly placeholder: string;
  onSend(text: string, files: FileUIPart[]): void;
  onStop(): void;
}

interface Attached {
  readonly part: FileUIPart;
  readonly sizeBytes: number;
}

export function Composer({ isBusy, isReady, placeholder, onSend, onStop }: ComposerProps) {
  const [text, setText] = useState("");
  const [attached, setAttached] = useState<readonly Attached[]>([]);
  const [problem, setProblem] = useState<string>();
  const area = useRef<HTMLTextAreaElement>(null);
  const picker = useRef<HTMLInputElement>(null);
  const { tools } = useStore(settings);
  useEffect(() => {
    const { current } = area;
    if (!current) return;
    current.style.height = text === "" ? "" : "auto";
    if (text !== "") current.style.height = `${Math.min(current.scrollHeight, 240)}px`;
  }, [text]);
  const canSend = !isBusy && (text.trim() !== "" || attached.length > 0);
  const send = () => {
    if (!canSend) return;
    onSend(
      text.trim(),
      attached.map(({ part }) => part),
    );
    setText("");
    setAttached([]);
    setProblem(undefined);
  };
  const attach = async (files: readonly File[]) => {
    const found: Attached[] = [];
    for (const file of files) {
      const problem = await problemOf(file);
      setProblem(problem);
      if (!problem) found.push({ part: await partOf(file), sizeBytes: file.size });
    }
    setAttached((before) => [...before, ...found]);
  };
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      {attached.length > 0 && (
        <ul class="attached" aria-label="Documents for the next message">
          {attached.map(({ part, sizeBytes }, i) => (
            <li key={i}>
              <FileText size={15} /> {part.filename} <small>{bytes(sizeBytes)}</small>
              <button
                type="button"
                class="icon-button small"
                aria-label={`Remove ${part.filename}`}
                onClick={() => setAttached(attached.filter((_, at) => at !== i))}
              >
                <X size={14} />
              </button>
            </li>
          ))}
        </ul>
      )}
      {problem && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
      <textarea
        ref={area}
        rows={1}
        dir="auto"
        aria-label="Message"
        placeholder={placeholder}
        value={text}
        onInput={(event) => setText(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
          event.preventDefault();
          send();
        }}
      />
      <div class="composer-row">
        <input
          ref={picker}
          type="file"
          multiple
          hidden
          onChange={(event) => {
            attach(Array.from(event.currentTarget.files ?? [])).catch((error: Error) => setProblem(error.message));
            event.currentTarget.value = "";
          }}
        />
        <button
          type="button"
          class="icon-button"
          title="Attach documents of text"
          aria-label="Attach documents"
          onClick={() => picker.current!.click()}
        >
          <Paperclip size={18} />
        </button>
        <button
          type="button"
          class="chip"
          aria-pressed={tools}
          title="Lets the model use a calculator, a clock and a brush for this page, which run here. It then always takes the most likely word."
          onClick={() => set({ tools: !tools })}
        >
          <Wrench size={15} /> Tools
        </button>
        <span class="grow" />
        {isBusy ? (
          <button type="button" class="send" aria-label="Stop" title="Stop" onClick={onStop}>
            <Square size={15} fill="currentColor" />
          </button>
        ) : (
          <button
            type="submit"
            class="send"
            aria-label="Send"
            title={isReady ? "Send" : "Sends once the model is there"}
            disabled={!canSend}
          >
            <ArrowUp size={19} />
          </button>
        )}
      </div>
    </form>
  );
}

async function problemOf(file: File): Promise<string | undefined> {
  if (file.size > mostDocumentBytes) return `${file.name} has ${bytes(file.size)}: documents may have up to ${bytes(mostDocumentBytes)}.`;
  const start = new Uint8Array(await file.slice(0, 4096).arrayBuffer());
  return start.includes(0) ? `${file.name} is no text. Jamba models read text alone.` : undefined;
}

async function partOf(file: File): Promise<FileUIPart> {
  const text = await file.text();
  return { type: "file", mediaType: "text/plain", filename: file.name, url: `data:text/plain,${encodeURIComponent(text)}` };
}
