// Which words of a command line name a model. A word that was meant as one must never become a text for another model in silence.

import { existsSync, readdirSync } from "node:fs";
import { homedir } from "node:os";
import { basename, dirname, join } from "node:path";
import { isHubId, listCached } from "@jamba/loader";
import { family } from "./family.ts";
import { UsageError } from "./flags.ts";
import { slips } from "./nearest.ts";

/**
 * The first word if it names a model, and the small model otherwise, for then all words are text.
 * @param command for what the error proposes
 * @throws UsageError for a first word that looks like a model and is none
 */
export async function splitModel(words: readonly string[], command: string): Promise<{ model: string; rest: readonly string[] }> {
  const [first, ...rest] = words;
  if (first === undefined) return { model: "tiny", rest };
  if (isPlain(first)) return { model: first, rest };
  if (!isPath(first) && /\s/.test(first)) return { model: "tiny", rest: words };
  const known = await knownNames();
  const model = sourceOf(first, known);
  if (model !== undefined) return { model, rest };
  const near = nearestNames(first, known);
  if (near.length === 0 && !looksLikeModel(first)) return { model: "tiny", rest: words };
  throw notFound(first, near, known, `As a text it stands behind the model: jamba ${command} tiny ${first}${rest.length > 0 ? " …" : ""}`);
}

/**
 * What the library loads for a word that can only be a model; the small model for none.
 * @throws UsageError when it is none, with the nearest names
 */
export async function modelOf(word: string | undefined): Promise<string> {
  if (word === undefined || isPlain(word)) return word ?? "tiny";
  const known = await knownNames();
  const model = sourceOf(word, known);
  if (model === undefined) throw notFound(word, nearestNames(word, known), known, "");
  return model;
}

/**
 * The id on the hub that a name stands for.
 * @throws UsageError when it stands for none and nearly is the name of one
 */
export async function hubIdOf(word: string): Promise<string> {
  const known = await knownNames();
  const id = sourceOf(word, known);
  const near = id === undefined && word !== "tiny" ? nearestNames(word, known) : [];
  if (near.length > 0) throw notFound(word, near, known, "");
  return id ?? word;
}

/** What may have been meant by a hub id that the hub does not have. */
export async function nearestIds(id: string): Promise<string[]> {
  const known = await knownNames();
  return known.has(id.toLowerCase()) ? [] : nearestNames(id, known);
}

/** By names in lower case: what is loaded for them. */
type Known = ReadonlyMap<string, ReadonlySet<string>>;

/** The family, with and without its owner and brand, and what was downloaded. */
async function knownNames(): Promise<Known> {
  const known = new Map<string, Set<string>>();
  const add = (id: string, source: string) => {
    const name = id.slice(id.indexOf("/") + 1);
    for (const one of [id, name, name.replace(/^AI21-/, "")]) {
      const sources = known.get(one.toLowerCase()) ?? new Set();
      known.set(one.toLowerCase(), sources.add(source));
    }
  };
  for (const { id } of family) add(id.replace(/:.*/, ""), id);
  // A cache that can't be read is no reason to run nothing: whoever needs it says so.
  for (const { id } of await listCached().catch(() => [])) if (!known.has(id.toLowerCase())) add(id, id);
  return known;
}

/** What is loaded as it is written. */
function isPlain(word: string): boolean {
  return word === "tiny" || /^https?:\/\//i.test(word) || existsSync(word);
}

/** @throws UsageError for a name that several owners have */
function sourceOf(word: string, known: Known): string | undefined {
  if (isPlain(word)) return word;
  if (word.startsWith("~/")) return existsSync(join(homedir(), word.slice(2))) ? join(homedir(), word.slice(2)) : undefined;
  const [, name, file] = /^([^:]*)(:.+)?$/s.exec(word)!;
  const sources = [...(known.get(name.toLowerCase()) ?? [])];
  if (sources.length > 1) throw new UsageError(`${word}: expected the name of one model, found ${sources.length}: ${sources.join(", ")}`);
  if (sources.length === 1) return file === undefined ? sources[0] : `${sources[0].replace(/:.*/, "")}${file}`;
  return isHubId(word) ? word : undefined;
}

/** What is not there and can be nothing but a path, even with a space in it. */
function isPath(word: string): boolean {
  if (/^(~|\.{1,2})[\\/]/.test(word) || /\.(gguf|safetensors)$/i.test(word)) return true;
  return word.startsWith("/") && dirname(word) !== "/" && existsSync(dirname(word));
}

const forms: readonly RegExp[] = [
  // Another scheme, a path on this or another system, weights of other programs.
  /^[a-z][a-z\d+.-]*:\/\//i,
  /\//,
  /^([a-z]:|\.{1,2})\\/i,
  /\.(bin|pt|pth|onnx|ckpt|ggml|npz)$/i,
  // jamba-large, mistral-7b, llama3:8b, llama3:latest, x-q4_k_m
  /^(ai21|jamba)([-_.\d]|$)|[-_]jamba([-_.\d]|$)/i,
  /^[a-z][\w.-]*[-_:]\d+(\.\d+)?[bm]([-_:.]|$)/i,
  /^[a-z][\w.-]*:(latest|instruct|chat)$/i,
  /^[a-z][\w.-]*[-_:.](i?q\d(_\w+)?|fp8|bf16|f16|int[48]|gguf|awq|gptq)$/i,
];

function looksLikeModel(word: string): boolean {
  return isPath(word) || forms.some((form) => form.test(word));
}

/** The best first, three at most. */
function nearestNames(word: string, known: Known): string[] {
  if (isPath(word)) return neighbours(word);
  const name = word.replace(/:.*/s, "");
  const near = (other: string) => slips(name.toLowerCase(), other);
  const found = [...known.keys()].filter(
    (one) => near(one) <= (one.length < 10 ? 1 : 3) || (name.length > 5 && one.includes(name.toLowerCase())),
  );
  const spelled = [...new Set(found.sort((a, b) => near(a) - near(b)).map((one) => nameOf([...known.get(one)!][0])))];
  // A capital begins a sentence ("Tony is"), but for the name itself.
  const isTiny = name.length > 2 && near("tiny") <= 1 && (name === name.toLowerCase() || name.toLowerCase() === "tiny");
  return [...(isTiny ? ["tiny"] : []), ...spelled].slice(0, 3);
}

/** What lies beside a path that is not there, and has nearly its name. */
function neighbours(path: string): string[] {
  const whole = path.startsWith("~/") ? join(homedir(), path.slice(2)) : path;
  try {
    const base = basename(whole).toLowerCase();
    const found = readdirSync(dirname(whole)).filter((name) => slips(name.toLowerCase(), base) <= Math.max(1, Math.floor(base.length / 4)));
    return found.slice(0, 3).map((name) => join(dirname(path), name));
  } catch {
    return []; // there is no such folder either
  }
}

/** As it is shortest to type. */
function nameOf(source: string): string {
  return family.some(({ id }) => id === source) ? source.replace(/^ai21labs\/(AI21-)?/, "").replace(/:.*/, "") : source;
}

function notFound(word: string, near: readonly string[], known: Known, asText: string): UsageError {
  const found = isPath(word) ? "no such file or folder" : "none of that name";
  const names = [...new Set([...known.values()].flatMap((sources) => [...sources].map(nameOf)))].slice(0, 4);
  const hint =
    near.length > 0 ? `did you mean ${near.join(" or ")}?` : `there are tiny, ${names.join(", ")}, … (jamba help model, jamba list).`;
  return new UsageError(`${word}: expected a model, found ${found}; ${hint} ${asText}`.trimEnd());
}
