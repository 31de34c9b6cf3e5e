import { Check, Copy, X } from "lucide-preact";
import { memo } from "preact/compat";
import { useEffect, useMemo, useState } from "preact/hooks";
import type { Block } from "../markdown/blocks.ts";
import { escaped } from "../markdown/escaped.ts";
import { highlighted } from "../markdown/highlight.ts";
import { temml } from "../markdown/math.ts";
import { Store } from "./store.ts";
import { useStore } from "./use-store.ts";

const parser = new Store<typeof import("../markdown/blocks.ts") | undefined>(undefined);

/** Once the page stands, so that it stands sooner: until then, and where it does not come, an answer is shown as it was written. */
export async function fetchMarkdown(): Promise<void> {
  const found = await import("../markdown/blocks.ts");
  // The first use compiles what all others run: not when the first word comes.
  setTimeout(() => {
    found.blocksOf("**a**\n\n- b").map(found.htmlOf);
    parser.value = found;
  });
}

/** What a model wrote. While it grows only the last block is made anew. */
export const Markdown = memo(function Markdown({ text, isGrowing = false }: { text: string; isGrowing?: boolean }) {
  const found = useStore(parser);
  const blocks = useMemo(() => found?.blocksOf(text), [text, found]);
  if (!blocks)
    return (
      <div class="markdown said" dir="auto">
        {text}
      </div>
    );
  return (
    <div class="markdown" dir="auto">
      {blocks.map(({ raw, token, code }, i) => {
        // Blocks only ever grow at the end.
        const key = i;
        if (code) return <CodeBlock key={key} {...code} isGrowing={isGrowing && i === blocks.length - 1} />;
        return <HtmlBlock key={key} raw={raw} token={token} />;
      })}
    </div>
  );
});

const HtmlBlock = memo(
  function HtmlBlock({ raw, token }: Pick<Block, "raw" | "token">) {
    const maths = useStore(temml);
    const html = useMemo(() => parser.value!.htmlOf({ token }), [raw, maths]);
    return <div dir="auto" dangerouslySetInnerHTML={{ __html: html }} />;
  },
  (before, now) => before.raw === now.raw,
);

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
  const [said, setSaid] = useState<"Copied" | "The browser did not let the page copy">();
  useEffect(() => {
    if (!said) return;
    const timer = setTimeout(() => setSaid(undefined), 1500);
    return () => clearTimeout(timer);
  }, [said]);
  return (
    <button
      type="button"
      class="icon-button small"
      title={said ?? label}
      aria-label={said ?? label}
      onClick={() =>
        navigator.clipboard.writeText(text).then(
          () => setSaid("Copied"),
          () => setSaid("The browser did not let the page copy"),
        )
      }
    >
      {said === "Copied" ? <Check size={15} /> : said ? <X size={15} /> : <Copy size={15} />}
    </button>
  );
}
