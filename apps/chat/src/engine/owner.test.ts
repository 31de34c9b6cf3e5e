import { openAsBlob } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterEach, expect, test, vi } from "vitest";
import type { Conversation } from "../storage/conversations.ts";
import { MemoryFiles } from "../storage/files.ts";
import type { UiChunk } from "../transport/index.ts";
import { Owner } from "./owner.ts";

// Models are loaded, whatever else the machine does.
vi.setConfig({ testTimeout: 300_000 });
vi.stubGlobal("navigator", {}); // Node 20 has none
afterEach(() => vi.useRealTimers());

const names = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"];
const folder = fileURLToPath(new URL("../../../../packages/tiny-model/", import.meta.url));

/** Hears what is written of conversations. */
class HeardFiles extends MemoryFiles {
  readonly written: Conversation[] = [];

  override async write(path: string, content: string | Blob | AsyncIterable<Uint8Array>): Promise<void> {
    if (path.endsWith("conversation.json")) this.written.push(JSON.parse(content as string));
    return super.write(path, content);
  }
}

async function ownerOf(files: MemoryFiles, tell: (event: string) => void): Promise<Owner> {
  const owner = new Owner(files, tell, { base: "", hub: "" });
  const model = await Promise.all(names.map(async (name) => new File([await openAsBlob(folder + name)], name)));
  await owner.service.load({ kind: "files", name: "tiny", files: model });
  return owner;
}

const asked = { id: "q", role: "user" as const, parts: [{ type: "text" as const, text: "Write a story about Mia and a fox." }] };
const nodes = [{ message: asked, at: 1 }];
const conversation = { id: "c", title: "C", createdAt: 1, updatedAt: 1, nodes, leafId: "q", settings: {} };
const request = { chatId: "c", messages: [asked], options: { maxTokens: 60, temperature: 0 } };

test("an answer that nobody reads is kept as far as it is, and whole when it has ended", async () => {
  // Its clock, which is set on below.
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "performance"] });
  const files = new HeardFiles("a test");
  let heard: () => void;
  const ended = new Promise<void>((resolve) => {
    heard = resolve;
  });
  const owner = await ownerOf(files, (event) => event === "conversations" && files.written.length > 2 && heard());
  await owner.service.writeConversation(conversation);
  for await (const { type } of owner.service.answer(request, new AbortController().signal)) if (type === "text-delta") break;
  vi.advanceTimersByTime(3000);
  await ended;
  const said = files.written.map(({ nodes }) => nodes[1]?.message);
  const texts = said.map((message) => message?.parts.map((part) => (part.type === "text" ? part.text : "")).join(""));
  expect(said.map((message) => message?.metadata?.finishReason)).toEqual([undefined, "cancelled", expect.stringMatching(/stop|length/)]);
  expect([texts[1]!.length > 0, texts[2]!.length > texts[1]!.length, texts[2]!.startsWith(texts[1]!)]).toEqual([true, true, true]);
  expect(files.written.map(({ leafId, nodes }) => [leafId === nodes.at(-1)!.message.id, nodes[1]?.parentId])).toEqual([
    [true, undefined],
    [true, "q"],
    [true, "q"],
  ]);
  expect(await owner.service.reconnect({ chatId: "c" })).toBeUndefined();
});

test("whoever follows an answer sees all of it and can stop it, also for whom it was asked", async () => {
  const owner = await ownerOf(new MemoryFiles("a test"), () => undefined);
  const [own, followed]: UiChunk[][] = [[], []];
  let following: Promise<void> | undefined;
  for await (const chunk of owner.service.answer(request, new AbortController().signal)) {
    own.push(chunk);
    if (chunk.type !== "text-delta" || following) continue;
    expect(await owner.service.reconnect({ chatId: "c" })).toEqual({ askedId: "q" });
    following = (async () => {
      for await (const one of owner.service.follow({ chatId: "c" })) followed.push(one);
    })();
    await owner.service.stop({ chatId: "c" });
  }
  await following;
  expect(own.at(-1)).toEqual({ type: "abort", reason: "The answer was stopped." });
  expect(followed).toEqual(own);
});

test("a conversation that is removed while it is answered, or right after, leaves nothing behind", async () => {
  const files = new MemoryFiles("a test");
  const owner = await ownerOf(files, () => undefined);
  const { service } = owner;
  const answer = async (chatId: string, onChunk?: (chunk: UiChunk) => void) => {
    await service.writeConversation({ ...conversation, id: chatId });
    for await (const chunk of service.answer({ ...request, chatId }, new AbortController().signal)) onChunk?.(chunk);
  };
  const removing: Promise<void>[] = [];
  const types: string[] = [];
  await answer("during", ({ type }) => {
    types.push(type);
    if (type === "text-delta" && removing.length === 0) removing.push(service.removeConversation({ id: "during" }));
  });
  await answer("after");
  removing.push(service.removeConversation({ id: "after" }));
  await Promise.all(removing);
  // States are saved in turn: once this one's is there, those of the others would be.
  await answer("kept");
  const paths = async () => (await files.list("conversations")).map(({ path }) => path.replace(/[^/]*\.state/, "state"));
  while (!(await paths()).includes("conversations/kept/state")) await new Promise((resolve) => setTimeout(resolve, 5));
  expect(types.at(-1)).toBe("abort");
  expect((await paths()).sort()).toEqual(["conversations/kept/conversation.json", "conversations/kept/state"]);
  expect((await service.conversations(null)).map(({ id }) => id)).toEqual(["kept"]);
});
