// Markdown to HTML, block by block: while an answer grows only its last block is made anew. What comes out is sanitised; nothing in it is
// fetched, and nothing runs.

import DOMPurify from "dompurify";
import { Marked, type Token, type Tokens } from "marked";
import { escaped } from "./escaped.ts";
import { mathExtension } from "./math.ts";

const marked = new Marked({ gfm: true, breaks: false }, mathExtension);

marked.use({
  renderer: {
    // HTML in an answer is what the model wrote, not what it does.
    html: ({ text }) => escaped(text),
    image: ({ href, text }) => `<a href="${escaped(href)}">${escaped(text || href)}</a>`,
    code: ({ text, lang }) => `<pre><code data-language="${escaped(languageOf(lang))}">${escaped(text)}</code></pre>`,
  },
});

const languageOf = (info = "") => /^[\w+#.-]*/.exec(info)![0].toLowerCase();

export interface Block {
  /** As it was written. */
  readonly raw: string;
  readonly token: Token;
  /** Of a piece of code. */
  readonly code?: { readonly text: string; readonly language: string };
}

/** A paragraph, a list, a table, a piece of code … */
export function blocksOf(markdown: string): Block[] {
  return marked.lexer(markdown).flatMap((token: Tokens.Generic) => {
    const { type, raw, text, lang } = token;
    if (type === "space") return [];
    return type === "code" ? [{ raw, token, code: { text, language: languageOf(lang) } }] : [{ raw, token }];
  });
}

// MathML, whose elements DOMPurify knows; no styles, forms or frames.
const allowed = {
  USE_PROFILES: { html: true, mathMl: true },
  FORBID_TAGS: [
    "style",
    "form",
    "input",
    "button",
    "textarea",
    "select",
    "option",
    "iframe",
    "img",
    "picture",
    "video",
    "audio",
    "source",
    "svg",
    "dialog",
  ],
  FORBID_ATTR: ["style", "id", "name", "srcset", "src", "autofocus", "popover"],
  ALLOW_DATA_ATTR: true,
  // It is asked of every attribute, so what names no scheme must pass: `start` of a list, `align` of a cell, `display` of maths.
  ALLOWED_URI_REGEXP: /^(?:(?:https?|mailto):|[^a-z]|[a-z+.-]+(?:[^a-z+.:-]|$))/i,
};

let purify: typeof DOMPurify | undefined;

/** Links open apart from the page, and do not tell where they were clicked. */
function purifier(): typeof DOMPurify {
  if (!purify) {
    purify = DOMPurify(window);
    purify.addHook("afterSanitizeAttributes", (element) => {
      if (element.tagName !== "A") return;
      element.setAttribute("target", "_blank");
      element.setAttribute("rel", "noopener noreferrer nofollow");
    });
  }
  return purify;
}

export function htmlOf({ token }: Pick<Block, "token">): string {
  return purifier().sanitize(marked.parser([token]), allowed);
}
