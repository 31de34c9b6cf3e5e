// Names of things on the hub. They become parts of paths and URLs, so each form is checked here and nowhere else.

import { JambaError, LoadError } from "@jamba/core";
import { quote } from "../source/untrusted.ts";

export interface HubId {
  /** "owner/name" */
  readonly repo: string;
  /** A weights file, or a tag such as "Q4_K_M" that one file's name holds. */
  readonly wanted?: string;
}

const word = /^[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?$/;

function parse(text: string): HubId | undefined {
  const [, owner = "", name = "", wanted] = /^([^/:]+)\/([^/:]+)(?::(.+))?$/s.exec(text) ?? [];
  if (!word.test(owner) || !word.test(name) || /--|\.\./.test(`${owner}/${name}`)) return undefined;
  // A path to a file, whose typo should not become a question to the hub.
  if (wanted === undefined && /\.(gguf|safetensors|json)$/i.test(name)) return undefined;
  return { repo: `${owner}/${name}`, wanted };
}

/** Whether `text` has the form "owner/name" or "owner/name:file"; a path may have it too. */
export function isHubId(text: string): boolean {
  return parse(text) !== undefined;
}

/** @throws JambaError "OPTION" */
export function parseHubId(text: string): HubId {
  const id = typeof text === "string" ? parse(text) : undefined;
  if (!id)
    throw new JambaError("OPTION", `${quote(String(text))}: expected a hub id: owner/name, owner/name:file.gguf or owner/name:Q4_K_M`);
  if (id.wanted !== undefined && !isSafePath(id.wanted)) {
    throw new JambaError(
      "OPTION",
      `${quote(text)}: expected the name of a file of ${id.repo} behind the colon, found a path that leaves it`,
    );
  }
  return id;
}

/** @throws JambaError "OPTION" */
export function checkRevision(revision: string): void {
  if (typeof revision === "string" && isSafePath(revision) && !/[\s~^?*[]/.test(revision)) return;
  throw new JambaError("OPTION", `revision: expected a branch, a tag or a commit, found ${quote(String(revision))}`);
}

/** Whether a name stays below the folder that it is joined to, on every system. */
export function isSafePath(path: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
  if (path.length === 0 || path.length > 1024 || /[\\:\x00-\x1f\x7f]/.test(path)) return false;
  return path.split("/").every((part) => part !== "" && part !== "." && part !== ".." && part.length <= 255);
}

/** @throws LoadError */
export function expectSafePath(path: string, where: string): void {
  if (isSafePath(path)) return;
  throw new LoadError(`${where}: expected names of files below the repository, found ${quote(path)}; it is not written anywhere`);
}

export function isCommit(text: string): boolean {
  return /^[0-9a-f]{40}$/.test(text);
}
