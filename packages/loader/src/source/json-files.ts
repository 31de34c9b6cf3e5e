// The JSON files and templates beside the weights. Only their syntax is checked here.

import { LoadError } from "@jamba/core";
import { type Folder, isAbsent, templateFolder } from "./folder.ts";
import { isObject } from "./untrusted.ts";

const mebibyte = 2 ** 20;
// A vocabulary of 65536 tokens takes some 5 MiB.
const maxTokenizerBytes = 64 * mebibyte;
const maxJsonBytes = 16 * mebibyte;
// Deeper JSON would overflow the stack of who walks it.
const maxDepth = 100;

/** The parsed file, or undefined when it is absent. */
export async function readJson(folder: Folder, file: string, signal?: AbortSignal): Promise<unknown> {
  const found = await readText(folder, file, signal);
  if (found === undefined) return undefined;
  const { name, text } = found;
  checkDepth(name, text);
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new LoadError(`${name}: expected JSON: ${(cause as Error).message}`, { cause });
  }
}

/**
 * tokenizer_config.json. Chat templates in files of their own take the place of all that it has, as in transformers; chat_template.json,
 * which only processors of images write, is for a config without any.
 */
export async function readTokenizerConfig(folder: Folder, signal?: AbortSignal): Promise<unknown> {
  const templates = readTemplateFiles(folder, signal);
  templates.catch(() => undefined); // the config's faults come first
  const config = await readJson(folder, "tokenizer_config.json", signal);
  if (config !== undefined && !isObject(config)) return config;
  const files = await templates;
  if (files !== undefined) return { ...config, chat_template: files };
  if (config?.chat_template !== undefined && config.chat_template !== null) return config;
  const json = await readJson(folder, "chat_template.json", signal);
  if (json === undefined) return config;
  if (isObject(json) && typeof json.chat_template === "string") return { ...config, chat_template: json.chat_template };
  throw new LoadError(`${folder.name}: chat_template.json: expected { "chat_template": string }, found something else`);
}

/** One text where there is only the default, else a list as in tokenizer_config.json. */
async function readTemplateFiles(folder: Folder, signal?: AbortSignal): Promise<unknown> {
  const found = new Map<string, string>();
  const add = async (name: string, reading: ReturnType<typeof readText>) => {
    const read = await reading;
    if (read) found.set(name, read.text);
  };
  const first = readText(folder, "chat_template.jinja", signal);
  first.catch(() => undefined); // told below
  const listed = await folder.list(templateFolder);
  // Where nothing can be listed, the one that is chosen without being named.
  const names = (listed ?? ["tool_use.jinja"]).filter((file) => /^[^/]+\.jinja$/.test(file)).map((file) => file.slice(0, -".jinja".length));
  await add("default", first);
  for (const name of names) await add(name, readText(folder, `${templateFolder}/${name}.jinja`, signal));
  if (found.size === 0) return undefined;
  if (found.size === 1 && found.has("default")) return found.get("default");
  return [...found].map(([name, template]) => ({ name, template }));
}

async function readText(folder: Folder, file: string, signal?: AbortSignal): Promise<{ name: string; text: string } | undefined> {
  const maxBytes = file === "tokenizer.json" ? maxTokenizerBytes : maxJsonBytes;
  const source = await folder.open(file, { signal, wholeUpToBytes: maxBytes }).catch((error) => {
    if (isAbsent(error)) return undefined;
    throw error;
  });
  if (!source) return undefined;
  const { name, size } = source;
  try {
    if (size > maxBytes) throw new LoadError(`${name}: expected at most ${maxBytes} bytes, found ${size}`);
    const bytes = await source.read(0, size, signal);
    return { name, text: decode(bytes, name) };
  } finally {
    await source.close();
  }
}

function decode(bytes: Uint8Array, name: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new LoadError(`${name}: expected UTF-8, found other bytes`, { cause });
  }
}

function checkDepth(name: string, text: string): void {
  let depth = 0;
  let quoted = false;
  for (let i = 0; i < text.length; i++) {
    const char = text[i];
    if (char === '"') quoted = !quoted;
    else if (quoted) i += char === "\\" ? 1 : 0;
    else if (char === "{" || char === "[") depth++;
    else if (char === "}" || char === "]") depth--;
    if (depth > maxDepth) throw new LoadError(`${name}: expected at most ${maxDepth} nested brackets, found more`);
  }
}
