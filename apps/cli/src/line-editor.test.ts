// Keys as bytes of a terminal, to the messages that come out. What a person sees of it is tried in a real terminal, in test/.

import { once } from "node:events";
import { PassThrough } from "node:stream";
import { expect, test, vi } from "vitest";
import { LineEditor, messagesOf } from "./line-editor.ts";

const [pasteStart, pasteEnd] = ["\u001b[200~", "\u001b[201~"];
const paste = (text: string) => `${pasteStart}${text}${pasteEnd}`;

function open(history: string[] = []) {
  const input = Object.assign(new PassThrough(), { isTTY: true });
  const output = Object.assign(new PassThrough(), { isTTY: true, columns: 80 }).resume();
  const onInterrupt = vi.fn();
  return { input, onInterrupt, editor: new LineEditor({ input, output, history, onInterrupt }) };
}

/** The messages of what is typed in pieces, until the end of it. */
async function typed(pieces: readonly string[], history: string[] = []) {
  const { input, onInterrupt, editor } = open(history);
  const feed = (async () => {
    await new Promise((resolve) => setImmediate(resolve));
    for (const piece of pieces) {
      input.write(piece);
      await new Promise((resolve) => setImmediate(resolve));
    }
    input.end();
  })();
  const messages: string[] = [];
  for (let text = await editor.read("> "); text !== undefined; text = await editor.read("> ")) messages.push(text);
  await feed;
  editor.close();
  return { messages, interrupted: editor.interrupted, interrupts: onInterrupt.mock.calls.length };
}

test.each<[string, string[], string[]]>([
  ["lines", ["a\r", "b\r"], ["a", "b"]],
  ["lines that come at once", ["a\rb\rc\r"], ["a", "b", "c"]],
  ["lines that a program ends", ["a\n", "b\n"], ["a", "b"]],
  ["pasted lines", [`${paste("a\rb\rc")}\r`], ["a\nb\nc"]],
  ["pasted lines of every kind", [`${paste("a\r\nb\nc\r\rd")}\r`], ["a\nb\nc\n\nd"]],
  ["a paste in pieces", [pasteStart, "a\r", "b", pasteEnd, "\r"], ["a\nb"]],
  ["a paste that ends in a line break", [`${paste("a\rb\r")}\r`], ["a\nb\n"]],
  ["a paste amid what is typed", [`x${paste("a\rb")}y\r`], ["xa\nby"]],
  ["two pastes", [`${paste("a\r")}${paste("b")}\r`], ["a\nb"]],
  ["control characters in a paste", [`${paste("a\u0007\u0008b\tc")}\r`], ["ab\tc"]],
  ["quotes and backslashes in a paste", [`${paste('"""x\\\ry')}\r`], ['"""x\\\ny']],
  ["whole quotes in a paste", [`${paste('"""x"""')}\r`], ['"""x"""']],
  ["a backslash at the end", ["a\\\r", "b\r"], ["a\nb"]],
  ["two backslashes at the end", ["a\\\\\r", "b\r"], ["a\\\\", "b"]],
  ["a backslash inside", ["a\\b\r"], ["a\\b"]],
  ["Alt-Enter", ["a\u001b\rb\r"], ["a\nb"]],
  ["Shift-Enter where the terminal tells it", ["a\u001b[13;2ub\r"], ["a\nb"]],
  ["quotes", ['"""\r', "a\r", "\r", "b\r", '"""\r'], ["a\n\nb"]],
  ["quotes in a line", ['"""a"""\r'], ["a"]],
  ["quotes inside", ['say """ a\r'], ['say """ a']],
  ["a line edited in the middle", ["ac\u001b[Db\r"], ["abc"]],
  ["an edit in a line before", ["a\\\r", "b\u001b[A!\r"], ["a!\nb"]],
  ["an edit in a line after", ["a\\\r", "b\u001b[A\u001b[B!\r"], ["a\nb!"]],
  ["a line that is cleared", ["a\u0003b\r"], ["b"]],
  ["wide characters", ["数学 👩‍👩‍👧\r"], ["数学 👩‍👩‍👧"]],
  ["Ctrl-D on an empty line", ["a\r", "\u0004", "b\r"], ["a"]],
])("%s", async (_, pieces, messages) => {
  expect((await typed(pieces)).messages).toEqual(messages);
});

test.each<[string, string[], string[]]>([
  ["the newest with a part", ["\u0012fox\r"], ["fox 2"]],
  ["one before it", ["\u0012fox\u0012\r"], ["fox 1"]],
  ["an empty part finds nothing", ["x\u0012\r"], ["x"]],
  ["a part that is nowhere leaves what was there", ["x\u0012nowhere\u0007y\r"], ["xy"]],
  ["a shorter part after a mistake", ["\u0012foxx\u007f\r"], ["fox 2"]],
  ["found and then edited", ["\u0012fox\u001b[F!\r"], ["fox 2!"]],
  ["Ctrl-C puts back what was there", ["x\u0012fox\u0003y\r"], ["xy"]],
  ["lines of several", ["\u0012second\r"], ["first\nsecond"]],
  ["the arrow key", ["\u001b[A\u001b[A\r"], ["other"]],
  ["the arrow key and back to what was begun", ["x\u001b[A\u001b[A\u001b[B\u001b[B\u001b[By\r"], ["xy"]],
  ["the arrow key through lines of several", ["\u001b[A\u001b[A\u001b[A\u001b[A\u001b[A\u001b[A\r"], ["fox 1"]],
  ["what was just said", ["a\rb\r\u001b[A\u001b[A\r"], ["a", "b", "a"]],
  ["what was quoted, without its quotes", ['"""a"""\r\u001b[A\r'], ["a", "a"]],
])("the search: %s", async (_, pieces, messages) => {
  expect((await typed(pieces, ["fox 2", "other", "first\nsecond", "fox 1"])).messages).toEqual(messages);
});

test("Ctrl-C at an empty line leaves, and says so", async () => {
  expect(await typed(["a\r", "\u0003"])).toEqual({ messages: ["a"], interrupted: true, interrupts: 0 });
});

test("what comes while nobody reads waits, and Ctrl-C then throws it away", async () => {
  const { input, onInterrupt, editor } = open();
  input.write("lost\u0003a\rb");
  await new Promise((resolve) => setImmediate(resolve));
  expect([await editor.read("> "), onInterrupt.mock.calls.length]).toEqual(["a", 1]);
  const next = editor.read("> ");
  input.write("c\r");
  expect(await next).toBe("bc");
  editor.close();
});

test("the end comes after what was typed before it, also while nobody reads", async () => {
  const { input, editor } = open();
  input.end("a\r");
  await once(input, "end");
  expect([await editor.read("> "), await editor.read("> ")]).toEqual(["a", undefined]);
  editor.close();
});

test.each<[string, string[]]>([
  ["a\nb\n\nc", ["a", "b", "", "c"]],
  ["a\\\nb\\\nc\nd", ["a\nb\nc", "d"]],
  ["a\\\\\nb", ["a\\\\", "b"]],
  ['"""\na\n\nb\n"""\nc', ["a\n\nb", "c"]],
  ['"""a"""\nb', ["a", "b"]],
  ['"""\nnever closed', ['"""\nnever closed']],
  ["ends in a backslash\\", ["ends in a backslash"]],
])("lines that nobody types: %j", async (text, messages) => {
  async function* lines() {
    yield* text.split("\n");
  }
  const found: string[] = [];
  for await (const message of messagesOf(lines())) found.push(message);
  expect(found).toEqual(messages);
});
