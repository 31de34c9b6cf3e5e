// Colours for code, by highlight.js: its core and each language are fetched when the first code of theirs is seen.

import type { HLJSApi, LanguageFn } from "highlight.js";

const languages: Readonly<Record<string, () => Promise<{ default: LanguageFn }>>> = {
  bash: () => import("highlight.js/lib/languages/bash"),
  c: () => import("highlight.js/lib/languages/cpp"),
  css: () => import("highlight.js/lib/languages/css"),
  diff: () => import("highlight.js/lib/languages/diff"),
  go: () => import("highlight.js/lib/languages/go"),
  html: () => import("highlight.js/lib/languages/xml"),
  java: () => import("highlight.js/lib/languages/java"),
  javascript: () => import("highlight.js/lib/languages/javascript"),
  json: () => import("highlight.js/lib/languages/json"),
  markdown: () => import("highlight.js/lib/languages/markdown"),
  python: () => import("highlight.js/lib/languages/python"),
  rust: () => import("highlight.js/lib/languages/rust"),
  sql: () => import("highlight.js/lib/languages/sql"),
  typescript: () => import("highlight.js/lib/languages/typescript"),
  yaml: () => import("highlight.js/lib/languages/yaml"),
};

const others: Readonly<Record<string, string>> = {
  "c++": "c",
  cpp: "c",
  js: "javascript",
  jsx: "javascript",
  md: "markdown",
  py: "python",
  rs: "rust",
  sh: "bash",
  shell: "bash",
  svg: "html",
  ts: "typescript",
  tsx: "typescript",
  xml: "html",
  yml: "yaml",
};

/** Longer code stays plain: colouring it would take longer than a frame. */
const mostChars = 20_000;

let core: Promise<HLJSApi> | undefined;
const known = new Map<string, Promise<HLJSApi>>();

/** @returns HTML of spans and text; undefined for a language that is unknown, or code that is too long */
export async function highlighted(code: string, name: string): Promise<string | undefined> {
  const language = others[name] ?? name;
  if (!Object.hasOwn(languages, language) || code.length > mostChars) return undefined;
  if (!known.has(language)) known.set(language, fetched(language));
  const api = await known.get(language)!;
  return api.highlight(code, { language, ignoreIllegals: true }).value;
}

async function fetched(language: string): Promise<HLJSApi> {
  core ??= import("highlight.js/lib/core").then(({ default: api }) => api);
  const [api, { default: definition }] = await Promise.all([core, languages[language]()]);
  api.registerLanguage(language, definition);
  return api;
}
