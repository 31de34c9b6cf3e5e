// One conversation that is shown: its tree, and the AI SDK's chat over the branch that is looked at.

import { Chat } from "@ai-sdk/react";
import type { FileUIPart } from "ai";
import { branchOf, type Conversation, leafFrom, titleOf, withMessage } from "../storage/conversations.ts";
import type { ChatMessage } from "../transport/index.ts";
import type { Client } from "./client.ts";
import { settings } from "./settings.ts";
import { Store } from "./store.ts";
import { WorkerTransport } from "./worker-transport.ts";

const toolNames = ["add", "multiply", "get_time", "paint"];

/** What an answer is that was stopped before its first word. */
export function isEmpty(message: ChatMessage | undefined): boolean {
  return message?.role === "assistant" && message.parts.every(({ type }) => type === "step-start");
}

export class OpenConversation {
  readonly tree: Store<Conversation>;
  readonly chat: Chat<ChatMessage>;
  /** What could not be kept, and why. */
  readonly trouble = new Store<string | undefined>(undefined);
  readonly #client: Client;
  #isRemoved = false;

  constructor(client: Client, conversation: Conversation) {
    this.#client = client;
    this.tree = new Store(conversation);
    const transport = new WorkerTransport(client, {
      settings: () => {
        const { temperature, maxTokens, tools } = settings.value;
        const { system } = this.tree.value.settings;
        const plain = { temperature, maxTokens, truncation: "auto" as const, ...(system && { system }) };
        // Arguments are no place for surprises.
        return tools ? { ...plain, temperature: 0, tools: toolNames } : plain;
      },
      onAnswered: (message, askedId) => this.#answered(message, askedId),
    });
    this.chat = new Chat<ChatMessage>({ id: conversation.id, transport, messages: branchOf(conversation, conversation.leafId) });
  }

  static fresh(client: Client, system = settings.value.system): OpenConversation {
    const now = Date.now();
    const id = crypto.randomUUID();
    return new OpenConversation(client, {
      id,
      title: "New conversation",
      createdAt: now,
      updatedAt: now,
      nodes: [],
      settings: { ...(system && { system }) },
    });
  }

  get isBusy(): boolean {
    return this.chat.status === "submitted" || this.chat.status === "streaming";
  }

  async send(text: string, files: FileUIPart[] = []): Promise<void> {
    // An answer that was stopped before its first word is no message that another could follow.
    if (isEmpty(this.chat.messages.at(-1))) this.chat.messages = this.chat.messages.slice(0, -1);
    const parentId = this.chat.messages.at(-1)?.id;
    const message: ChatMessage = {
      id: crypto.randomUUID(),
      role: "user",
      parts: [...files, ...(text ? [{ type: "text" as const, text }] : [])],
    };
    const { nodes, title } = this.tree.value;
    const named = nodes.length === 0 ? titleOf(text || files[0]?.filename || "") : title;
    this.#keep({ ...withMessage(this.tree.value, message, parentId), title: named });
    await this.chat.sendMessage(message);
  }

  /** Another wording of a message: a branch beside it. */
  async edit(id: string, text: string): Promise<void> {
    await this.stop();
    const { parentId, message } = this.tree.value.nodes.find((node) => node.message.id === id)!;
    this.chat.messages = branchOf(this.tree.value, parentId);
    await this.send(
      text,
      message.parts.filter((part) => part.type === "file"),
    );
  }

  /** Another answer to the message before `id`, or to the last one. */
  async regenerate(id?: string): Promise<void> {
    await this.stop();
    if (id !== undefined)
      this.chat.messages = branchOf(this.tree.value, this.tree.value.nodes.find((node) => node.message.id === id)!.parentId);
    await this.chat.regenerate();
  }

  /** Also of an answer that another tab asked for, which this one only follows. */
  async stop(): Promise<void> {
    if (!this.isBusy) return;
    this.#client.heed(this.#client.calls.call("stop", { chatId: this.chat.id }));
    await this.chat.stop();
  }

  async show(id: string): Promise<void> {
    await this.stop();
    const leafId = leafFrom(this.tree.value, id);
    this.chat.messages = branchOf(this.tree.value, leafId);
    this.#keep({ ...this.tree.value, leafId });
  }

  setSystem(system: string): void {
    this.tree.value = { ...this.tree.value, settings: { ...(system && { system }) } };
    if (this.tree.value.nodes.length > 0) this.#keep(this.tree.value);
  }

  /** It is gone, in this tab or another: nothing that is said of it is kept. */
  async removed(): Promise<void> {
    this.#isRemoved = true;
    await this.stop();
  }

  /** What another tab wrote. @returns whether there was more of it than here */
  take(conversation: Conversation): boolean {
    if (this.isBusy || conversation.nodes.length <= this.tree.value.nodes.length) return false;
    this.tree.value = conversation;
    this.chat.messages = branchOf(conversation, leafFrom(conversation, this.chat.messages.at(-1)?.id ?? conversation.nodes[0].message.id));
    return true;
  }

  #answered(message: ChatMessage, askedId: string | undefined): void {
    const at = this.chat.messages.findIndex(({ id }) => id === message.id);
    const { leafId } = this.tree.value;
    const tree = withMessage(this.tree.value, message, askedId);
    // Who went to another branch meanwhile stays there.
    this.#keep(at < 0 ? { ...tree, leafId } : tree);
    // Of a stopped answer the chat has no more than what came before.
    if (at >= 0 && !this.isBusy) this.chat.messages = this.chat.messages.with(at, message);
  }

  #keep(tree: Conversation): void {
    this.tree.value = tree;
    if (this.#isRemoved) return;
    this.#client.calls.call("writeConversation", tree).then(
      () => {
        this.trouble.value = undefined;
      },
      (error: Error) => {
        this.trouble.value = error.message;
      },
    );
  }
}
