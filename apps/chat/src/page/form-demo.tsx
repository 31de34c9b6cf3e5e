import { parsePartialJson } from "ai";
import { FormInput } from "lucide-preact";
import { useRef, useState } from "preact/hooks";
import type { Client } from "./client.ts";
import { Dialog } from "./dialog.tsx";

const example =
  "There was once a clever boy called Pablo. One day the weather was sunny, so Pablo went to the cave. On the path sat a horse who had a green sled. They shook hands and laughed. At the end of the day, Pablo was excited.";
const fields = ["name", "animal", "object", "colour", "weather", "feeling"] as const;
type Values = Partial<Record<(typeof fields)[number], string>>;

/** A form that fills itself: the answer is bound to the form's schema, and shows while it is written. */
export function FormDemo({ client, onClose }: { client: Client; onClose(): void }) {
  const [text, setText] = useState(example);
  const [values, setValues] = useState<Values>({});
  const [problem, setProblem] = useState<string>();
  const [isBusy, setBusy] = useState(false);
  const stop = useRef(new AbortController());
  const fill = async () => {
    setValues({});
    setProblem(undefined);
    setBusy(true);
    stop.current = new AbortController();
    try {
      let json = "";
      const reader = client.calls.stream("fill", { text, fields }, stop.current.signal).getReader();
      for (let next = await reader.read(); !next.done; next = await reader.read()) {
        json += next.value;
        const { value } = await parsePartialJson(json);
        setValues((value ?? {}) as Values);
      }
    } catch (error) {
      setProblem((error as Error).message);
    }
    setBusy(false);
  };
  return (
    <Dialog
      label="A form that fills itself"
      onClose={() => {
        stop.current.abort();
        onClose();
      }}
    >
      <p class="soft">
        The model reads the text and writes JSON. It can’t write anything else: each token is checked against the form’s schema before it is
        drawn.
      </p>
      <label class="field">
        <span>Text</span>
        <textarea rows={5} dir="auto" value={text} onInput={(event) => setText(event.currentTarget.value)} />
      </label>
      <div class="row fill-row">
        <button type="button" class="primary" disabled={isBusy || !text.trim()} onClick={() => void fill()}>
          <FormInput size={15} /> {isBusy ? "Filling…" : "Fill the form"}
        </button>
        {isBusy && (
          <button type="button" class="quiet" onClick={() => stop.current.abort()}>
            Stop
          </button>
        )}
      </div>
      {problem && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
      <div class="filled" aria-live="polite">
        {fields.map((field) => (
          <label key={field} class="field">
            <span>{field}</span>
            <input type="text" readOnly value={values[field] ?? ""} data-field={field} />
          </label>
        ))}
      </div>
    </Dialog>
  );
}
