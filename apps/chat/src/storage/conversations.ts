// Conversations as trees of messages: an edit or another answer begins a branch, and nothing that was said is lost.

import type { ChatMessage } from "../transport/index.ts";
import type { Files } from "./files.ts";
import { Turns } from "./turns.ts";

export interface MessageNode {
  readonly message: ChatMessage;
  /** The message before; none for the first. */
  readonly parentId?: string;
  /** Milliseconds since 1970. */
  readonly at: number;
}

export interface Conversation {
  readonly id: string;
  readonly title: string;
  readonly createdAt: number;
  readonly updatedAt: number;
  readonly nodes: readonly MessageNode[];
  /** The last message of the branch that is shown. */
  readonly leafId?: string;
  readonly settings: { readonly system?: string };
}

export interface ConversationSummary extends Pick<Conversation, "id" | "title" | "createdAt" | "updatedAt"> {
  readonly messages: number;
}

/** Messages from the first to `leafId`. */
export function branchOf({ nodes }: Pick<Conversation, "nodes">, leafId: string | undefined): ChatMessage[] {
  const byId = new Map(nodes.map((node) => [node.message.id, node]));
  const branch: ChatMessage[] = [];
  for (
    let node = leafId === undefined ? undefined : byId.get(leafId);
    node;
    node = node.parentId === undefined ? undefined : byId.get(node.parentId)
  )
    branch.push(node.message);
  return branch.reverse();
}

/** Of each message what stands in its place, itself among them, the oldest first; by ids. */
export function siblingsOf({ nodes }: Pick<Conversation, "nodes">): ReadonlyMap<string, readonly string[]> {
  const byParent = new Map<string | undefined, string[]>();
  for (const { message, parentId } of nodes) byParent.set(parentId, [...(byParent.get(parentId) ?? []), message.id]);
  return new Map(nodes.map(({ message, parentId }) => [message.id, byParent.get(parentId)!]));
}

/** The end of the branch that goes on from `id` by what was said last. */
export function leafFrom({ nodes }: Pick<Conversation, "nodes">, id: string): string {
  let leaf = id;
  for (;;) {
    const next = nodes.filter(({ parentId }) => parentId === leaf).at(-1);
    if (!next) return leaf;
    leaf = next.message.id;
  }
}

/** With `message` behind `parentId`, or in the place of what has its id. */
export function withMessage(conversation: Conversation, message: ChatMessage, parentId: string | undefined): Conversation {
  const at = conversation.nodes.findIndex((node) => node.message.id === message.id);
  const nodes =
    at < 0
      ? [...conversation.nodes, { message, parentId, at: Date.now() }]
      : conversation.nodes.map((node, i) => (i === at ? { ...node, message } : node));
  return { ...conversation, nodes, leafId: message.id, updatedAt: Date.now() };
}

/**
 * With what there is of an answer to `askedId`: one that has not ended counts as stopped, until more of it is written in its place. It is
 * shown where its question or another answer to that was, not to who went elsewhere meanwhile.
 */
export function withAnswer(conversation: Conversation, answer: ChatMessage, askedId: string): Conversation {
  const { metadata } = answer;
  const message =
    metadata && !metadata.finishReason ? { ...answer, metadata: { ...metadata, finishReason: "cancelled" as const } } : answer;
  const { leafId, nodes } = conversation;
  const isThere = leafId === askedId || nodes.find((node) => node.message.id === leafId)?.parentId === askedId;
  const answered = withMessage(conversation, message, askedId);
  return isThere ? answered : { ...answered, leafId };
}

/** What two tabs wrote of one conversation: nothing of either is lost, and where both have a message the later writer's stays. */
export function merged(stored: Conversation, written: Conversation): Conversation {
  const ids = new Set(written.nodes.map(({ message }) => message.id));
  const others = stored.nodes.filter(({ message }) => !ids.has(message.id));
  const nodes = [...others, ...written.nodes].sort((a, b) => a.at - b.at);
  return { ...written, nodes, createdAt: Math.min(stored.createdAt, written.createdAt) };
}

export function titleOf(text: string): string {
  const line = text.trim().split("\n")[0];
  return line.length > 60 ? `${line.slice(0, 57).trimEnd()}…` : line || "New conversation";
}

export function textOf(message: ChatMessage): string {
  return message.parts.map((part) => (part.type === "text" ? part.text : "")).join("");
}

const folder = "conversations";
const fileFormat = "jamba-chat-1";

function conversationsOf(json: string): readonly unknown[] {
  try {
    const { format, conversations } = JSON.parse(json);
    if (format === fileFormat && Array.isArray(conversations)) return conversations;
  } catch {}
  throw new Error("This is no file of conversations that was exported here.");
}

export class ConversationStore {
  readonly #files: Files;
  #known: Promise<Map<string, Conversation>> | undefined;
  /** Ids. */
  readonly #removed = new Set<string>();
  readonly #turns = new Turns();

  constructor(files: Files) {
    this.#files = files;
  }

  async list(): Promise<ConversationSummary[]> {
    const all = [...(await this.#all()).values()].sort((a, b) => b.updatedAt - a.updatedAt);
    return all.map(({ id, title, createdAt, updatedAt, nodes }) => ({ id, title, createdAt, updatedAt, messages: nodes.length }));
  }

  async read(id: string): Promise<Conversation | undefined> {
    return (await this.#all()).get(id);
  }

  /**
   * One that was removed stays so: who writes it has not heard of that yet.
   * @throws StorageFull; what is shown stays as it is then
   */
  async write(written: Conversation): Promise<Conversation> {
    const all = await this.#all();
    if (this.#removed.has(written.id)) return written;
    const stored = all.get(written.id);
    const conversation = stored ? merged(stored, written) : written;
    all.set(written.id, conversation);
    await this.whileKept(written.id, (place) => this.#files.write(`${place}/conversation.json`, JSON.stringify(conversation)));
    return conversation;
  }

  async remove(id: string): Promise<void> {
    (await this.#all()).delete(id);
    this.#removed.add(id);
    await this.#turns.take(id, () => this.#files.remove(`${folder}/${id}`));
  }

  /** Work on a conversation's folder, which nothing removes meanwhile; none where the conversation is gone. */
  async whileKept(id: string, work: (folder: string) => Promise<void>): Promise<void> {
    const all = await this.#all();
    await this.#turns.take(id, async () => {
      if (all.has(id)) await work(`${folder}/${id}`);
    });
  }

  /** One of them, or all, as the JSON of a file that `importAll` takes. */
  async exportFile(id?: string): Promise<string> {
    const conversations = [...(await this.#all()).values()].filter((one) => id === undefined || one.id === id);
    return JSON.stringify({ format: fileFormat, conversations });
  }

  /** What is there already stays, with what is new in the file beside it. @throws Error for what is no such file; StorageFull */
  async importAll(json: string): Promise<{ taken: number; refused: number }> {
    const conversations = conversationsOf(json);
    let taken = 0;
    for (const one of conversations) {
      const conversation = parseConversation(JSON.stringify(one));
      if (!conversation) continue;
      this.#removed.delete(conversation.id);
      await this.write(conversation);
      taken++;
    }
    return { taken, refused: conversations.length - taken };
  }

  /** Those that have all words of `text`, with where the first one is. */
  async search(text: string): Promise<{ id: string; excerpt: string }[]> {
    const words = text.toLocaleLowerCase().split(/\s+/).filter(Boolean);
    const found: { id: string; excerpt: string }[] = [];
    for (const { id, title, nodes } of (await this.#all()).values()) {
      const whole = [title, ...nodes.map(({ message }) => textOf(message))].join("\n");
      const lower = whole.toLocaleLowerCase();
      if (!words.every((word) => lower.includes(word))) continue;
      const at = Math.max(0, lower.indexOf(words[0] ?? "") - 24);
      found.push({ id, excerpt: `${at > 0 ? "…" : ""}${whole.slice(at, at + 90).replaceAll("\n", " ")}` });
    }
    return found;
  }

  #all(): Promise<Map<string, Conversation>> {
    this.#known ??= this.#load();
    return this.#known;
  }

  async #load(): Promise<Map<string, Conversation>> {
    const all = new Map<string, Conversation>();
    const paths = (await this.#files.list(folder)).map(({ path }) => path);
    const places = new Set(paths.map((path) => path.slice(0, path.lastIndexOf("/"))));
    for (const place of places) {
      const file = await this.#files.read(`${place}/conversation.json`);
      const conversation = file && parseConversation(await file.text());
      if (conversation) all.set(conversation.id, conversation);
      // States of one that is gone: the browser was ended before they were.
      else if (!file) await this.#files.remove(place);
    }
    return all;
  }
}

/** Undefined for what is no conversation, as of another version or a damaged file. */
export function parseConversation(json: string | undefined): Conversation | undefined {
  try {
    const { id, title, createdAt = Date.now(), updatedAt = createdAt, nodes, leafId, settings } = JSON.parse(json ?? "");
    if (typeof id !== "string" || !/^[\w-]{1,64}$/.test(id) || typeof title !== "string" || !Array.isArray(nodes)) return undefined;
    if (!Number.isFinite(createdAt) || !Number.isFinite(updatedAt) || !nodes.every(isNode)) return undefined;
    const ids = new Set(nodes.map(({ message }) => message.id));
    if (ids.size !== nodes.length || nodes.some(({ parentId }) => parentId !== undefined && !ids.has(parentId)) || hasRing(nodes))
      return undefined;
    const system = typeof settings?.system === "string" ? settings.system : undefined;
    return { id, title, createdAt, updatedAt, nodes, leafId: ids.has(leafId) ? leafId : nodes.at(-1)?.message.id, settings: { system } };
  } catch {
    return undefined;
  }
}

function isNode(node: unknown): node is MessageNode {
  const { message, parentId, at } = (node ?? {}) as Partial<MessageNode>;
  const isMessage =
    typeof message?.id === "string" && ["user", "assistant", "system"].includes(message.role) && Array.isArray(message.parts);
  const areParts = message?.parts?.every?.(
    (part) => typeof part?.type === "string" && (part.type !== "text" || typeof part.text === "string"),
  );
  return isMessage && areParts === true && (parentId === undefined || typeof parentId === "string") && Number.isFinite(at);
}

function hasRing(nodes: readonly MessageNode[]): boolean {
  const parents = new Map(nodes.map(({ message, parentId }) => [message.id, parentId]));
  const isSound = new Set<string>();
  return nodes.some(({ message }) => {
    const way = new Set<string>();
    for (let id: string | undefined = message.id; id !== undefined && !isSound.has(id); id = parents.get(id)) {
      if (way.has(id)) return true;
      way.add(id);
    }
    for (const id of way) isSound.add(id);
    return false;
  });
}
