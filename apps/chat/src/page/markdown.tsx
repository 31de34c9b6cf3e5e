import { Check, Copy } from "lucide-preact";
import { memo } from "preact/compat";
import { useEffect, useMemo, useState } from "preact/hooks";
import { type Block, blocksOf, htmlOf } from "../markdown/blocks.ts";
import { escaped } from "../markdown/escaped.ts";
import { highlighted } from "../markdown/highlight.ts";
import { temml } from "../markdown/math.ts";
import { useStore } from "./store.ts";

/** What a model wrote. While it grows only the last block is made anew. */
export const Markdown = memo(function Markdown({ text, isGrowing = false }: { text: string; isGrowing?: boolean }) {
  const blocks = useMemo(() => blocksOf(text), [text]);
  return (
    <div class="markdown" dir="auto">
      {blocks.map(({ raw, code }, i) => {
        // Blocks only ever grow at the end.
        const key = i;
        if (code) return <CodeBlock key={key} {...code} isGrowing={isGrowing && i === blocks.length - 1} />;
        return <HtmlBlock key={key} raw={raw} />;
      })}
    </div>
  );
});

const HtmlBlock = memo(function HtmlBlock({ raw }: Pick<Block, "raw">) {
  const maths = useStore(temml);
  const html = useMemo(() => htmlOf(raw), [raw, maths]);
  return <div dir="auto" dangerouslySetInnerHTML={{ __html: html }} />;
});

const CodeBlock = memo(function CodeBlock({ text, language, isGrowing }: { text: string; language: string; isGrowing: boolean }) {
  const [html, setHtml] = useState<string>();
  useEffect(() => {
    setHtml(undefined);
    if (isGrowing) return;
    let isShown = true;
    highlighted(text, language).then(
      (found) => isShown && setHtml(found),
      () => undefined, // not to be had offline: it stays plain
    );
    return () => {
      isShown = false;
    };
  }, [text, language, isGrowing]);
  return (
    <div class="code-block" dir="ltr">
      <div class="code-head">
        <span>{language || "text"}</span>
        <CopyButton text={text} label="Copy code" />
      </div>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard */}
      <pre tabIndex={0}>
        <code dangerouslySetInnerHTML={{ __html: html ?? escaped(text) }} />
      </pre>
    </div>
  );
});

export function CopyButton({ text, label }: { text: string; label: string }) {
  const [isDone, setDone] = useState(false);
  useEffect(() => {
    if (!isDone) return;
    const timer = setTimeout(() => setDone(false), 1500);
    return () => clearTimeout(timer);
  }, [isDone]);
  return (
    <button
      type="button"
      class="icon-button small"
      title={label}
      aria-label={isDone ? "Copied" : label}
      onClick={() => navigator.clipboard.writeText(text).then(() => setDone(true))}
    >
      {isDone ? <Check size={15} /> : <Copy size={15} />}
    </button>
  );
}
