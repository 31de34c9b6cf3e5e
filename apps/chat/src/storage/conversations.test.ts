import fc from "fast-check";
import { expect, test } from "vitest";
import type { ChatMessage } from "../transport/index.ts";
import {
  branchOf,
  type Conversation,
  ConversationStore,
  leafFrom,
  merged,
  parseConversation,
  siblingsOf,
  titleOf,
  withMessage,
} from "./conversations.ts";
import { MemoryFiles } from "./files.ts";

const message = (id: string, text = id): ChatMessage => ({ id, role: "user", parts: [{ type: "text", text }] });
const empty: Conversation = { id: "c", title: "C", createdAt: 1, updatedAt: 1, nodes: [], settings: {} };
const idsOf = (messages: readonly ChatMessage[]) => messages.map(({ id }) => id);

/** A tree by what each message answers: an index of one before it, or none. */
const trees = fc
  .array(fc.nat(), { minLength: 1, maxLength: 30 })
  .map((parents) =>
    parents.reduce(
      (tree, parent, i) => withMessage(tree, message(`m${i}`), i === 0 || parent % (i + 1) === i ? undefined : `m${parent % i}`),
      empty,
    ),
  );

test("every message is on the branch that goes on from it, which begins at a root and follows parents", () => {
  fc.assert(
    fc.property(trees, (tree) => {
      expect(tree.leafId).toBe(tree.nodes.at(-1)!.message.id);
      for (const { message, parentId } of tree.nodes) {
        const leaf = leafFrom(tree, message.id);
        const branch = branchOf(tree, leaf);
        expect(idsOf(branch)).toContain(message.id);
        expect(tree.nodes.some((node) => node.parentId === leaf)).toBe(false);
        for (const [i, one] of branch.entries())
          expect(tree.nodes.find((node) => node.message.id === one.id)!.parentId).toBe(branch[i - 1]?.id);
        const siblings = siblingsOf(tree).get(message.id);
        expect(siblings).toEqual(tree.nodes.filter((node) => node.parentId === parentId).map((node) => node.message.id));
      }
    }),
  );
});

test("what two tabs write of one conversation is merged, in whichever order it comes, and read back as it was", async () => {
  await fc.assert(
    fc.asyncProperty(trees, fc.nat(29), async (tree, cut) => {
      const begun = { ...tree, nodes: tree.nodes.slice(0, cut + 1) };
      const [one, other] = [
        withMessage(begun, message("one"), begun.nodes.at(-1)!.message.id),
        withMessage(tree, message("other"), undefined),
      ];
      for (const [first, second] of [
        [one, other],
        [other, one],
      ]) {
        const files = new MemoryFiles("a test");
        await new ConversationStore(files).write(first);
        const store = new ConversationStore(files);
        const written = await store.write(second);
        expect(new Set(idsOf(written.nodes.map((node) => node.message)))).toEqual(
          new Set([...idsOf(tree.nodes.map((node) => node.message)), "one", "other"]),
        );
        expect(merged(written, second).nodes.length).toBe(written.nodes.length);
        expect(await new ConversationStore(files).read("c")).toEqual(JSON.parse(JSON.stringify(written)));
        expect(await store.list()).toMatchObject([{ id: "c", messages: tree.nodes.length + 2 }]);
      }
    }),
    { numRuns: 30 },
  );
});

test("exports are taken in elsewhere, found by their words, and removed", async () => {
  const store = new ConversationStore(new MemoryFiles("a test"));
  await store.write({ ...withMessage(empty, message("a", "A silver boat\nand a fox"), undefined), title: "Boats" });
  const json = await store.exportFile();
  const other = new ConversationStore(new MemoryFiles("a test"));
  expect(await other.importAll(json)).toEqual({ taken: 1, refused: 0 });
  expect(await other.importAll(json)).toEqual({ taken: 1, refused: 0 });
  expect((await other.list()).length).toBe(1);
  expect(await other.search("FOX boats")).toEqual([{ id: "c", excerpt: expect.stringContaining("fox") }]);
  expect(await other.search("fox whale")).toEqual([]);
  await other.remove("c");
  expect(await other.list()).toEqual([]);
  for (const wrong of ["", "[]", "{}", '{"format":"jamba-chat-2","conversations":[]}'])
    await expect(other.importAll(wrong)).rejects.toThrow("no file of conversations");
  expect(await other.importAll('{"format":"jamba-chat-1","conversations":[1,null,{}]}')).toEqual({ taken: 0, refused: 3 });
});

test("what is removed stays so, whatever is on its way to it, until a file brings it back", async () => {
  const files = new MemoryFiles("a test");
  const store = new ConversationStore(files);
  const begun = withMessage(empty, message("a"), undefined);
  await store.write(begun);
  const json = await store.exportFile("c");
  let isSaved: () => void;
  // A state that is being written, one that waits for that, and a tab's last word.
  const saving = store.whileKept("c", async (folder) => {
    await new Promise<void>((resolve) => {
      isSaved = resolve;
    });
    await files.write(`${folder}/one.state`, "state");
  });
  const waiting = store.whileKept("c", (folder) => files.write(`${folder}/two.state`, "state"));
  await new Promise((resolve) => setTimeout(resolve));
  const removing = store.remove("c");
  const writing = store.write(withMessage(begun, message("b"), "a"));
  isSaved!();
  await Promise.all([saving, waiting, removing, writing]);
  expect([await files.list("conversations"), await store.list()]).toEqual([[], []]);
  expect(await store.importAll(json)).toEqual({ taken: 1, refused: 0 });
  await store.write(withMessage(begun, message("b"), "a"));
  expect((await new ConversationStore(files).read("c"))?.nodes).toHaveLength(2);
});

test("states of a conversation that is gone are removed by the next visit; a damaged conversation is not", async () => {
  const files = new MemoryFiles("a test");
  await files.write("conversations/gone/one.state", "state");
  await files.write("conversations/damaged/one.state", "state");
  await files.write("conversations/damaged/conversation.json", "{");
  expect(await new ConversationStore(files).list()).toEqual([]);
  expect((await files.list("conversations")).map(({ path }) => path)).toEqual([
    "conversations/damaged/one.state",
    "conversations/damaged/conversation.json",
  ]);
});

test("what is no conversation is none, whatever it is", () => {
  const whole = { ...withMessage(withMessage(empty, message("a"), undefined), message("b"), "a") };
  expect(parseConversation(JSON.stringify(whole))).toEqual(JSON.parse(JSON.stringify(whole)));
  const broken: Partial<Record<keyof Conversation, unknown>>[] = [
    { id: "../other" },
    { id: 1 },
    { title: null },
    { nodes: "none" },
    { createdAt: "now" },
    { nodes: [{ message: { id: "a", role: "user", parts: [{ type: "text", text: 1 }] }, at: 1 }] },
    { nodes: [{ message: { id: "a", role: "robot", parts: [] }, at: 1 }] },
    { nodes: [whole.nodes[0], whole.nodes[0]] },
    { nodes: [{ ...whole.nodes[0], parentId: "nobody" }] },
    { nodes: [{ ...whole.nodes[0], parentId: "b" }, whole.nodes[1]] },
  ];
  for (const part of broken) expect(parseConversation(JSON.stringify({ ...whole, ...part })), JSON.stringify(part)).toBeUndefined();
  fc.assert(fc.property(fc.jsonValue(), (value) => void parseConversation(JSON.stringify(value))));
  for (const text of [undefined, "", "{", "null"]) expect(parseConversation(text)).toBeUndefined();
});

test("a title is the first line, cut where it is long", () => {
  expect([titleOf("  Hello\nthere"), titleOf(""), titleOf("x".repeat(80)).length]).toEqual(["Hello", "New conversation", 58]);
});
