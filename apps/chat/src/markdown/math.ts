// `$…$`, `$$…$$`, `\(…\)` and `\[…\]` as MathML, by temml, which is fetched when the first of them is seen: until then it is shown as code.

import type { MarkedExtension, TokenizerExtension } from "marked";
import { Store } from "../page/store.ts";
import { escaped } from "./escaped.ts";

type Temml = { renderToString(source: string, options: object): string };

/** Whoever shows maths is told when it can be made. */
export const temml = new Store<Temml | undefined>(undefined);
let isFetched = false;

function fetchTemml(): void {
  if (isFetched) return;
  isFetched = true;
  import("temml").then(
    ({ default: found }) => {
      temml.value = found as Temml;
    },
    () => {
      isFetched = false; // offline before it was ever needed: the source stays readable
    },
  );
}

function mathHtml(source: string, displayMode: boolean): string {
  fetchTemml();
  const plain = `<code class="math">${escaped(source)}</code>`;
  try {
    return temml.value?.renderToString(source, { displayMode, throwOnError: true, trust: false, maxExpand: 200 }) ?? plain;
  } catch {
    return plain;
  }
}

const inline: TokenizerExtension = {
  name: "inlineMath",
  level: "inline",
  start: (text) => /\$|\\\(/.exec(text)?.index,
  tokenizer(text) {
    // As pandoc has it: no space within the dollars, no digit behind them, so that prices stay prices.
    const found = /^\$(?![\s$])((?:\\.|[^$\\\n])+?)(?<!\s)\$(?!\d)/.exec(text) ?? /^\\\((.+?)\\\)/s.exec(text);
    return found ? { type: "inlineMath", raw: found[0], text: found[1] } : undefined;
  },
};

const block: TokenizerExtension = {
  name: "blockMath",
  level: "block",
  start: (text) => /\$\$|\\\[/.exec(text)?.index,
  tokenizer(text) {
    const found = /^\$\$(.+?)\$\$[ \t]*(?:\n|$)/s.exec(text) ?? /^\\\[(.+?)\\\][ \t]*(?:\n|$)/s.exec(text);
    return found ? { type: "blockMath", raw: found[0], text: found[1].trim() } : undefined;
  },
};

export const mathExtension: MarkedExtension = {
  extensions: [
    { ...inline, renderer: ({ text }) => mathHtml(text, false) },
    { ...block, renderer: ({ text }) => mathHtml(text, true) },
  ],
};
