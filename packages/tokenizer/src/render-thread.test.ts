import { expect, test, vi } from "vitest";
import { turnsDuring } from "../test/turns.ts";
import { type Message, renderChat, renderChatAsync } from "./index.ts";

const roles = ["user", "assistant"] as const;
const many: Message[] = Array.from({ length: 20_000 }, (_, i) => ({ role: roles[i % 2], content: `words ${i} of it` }));
const few: Message[] = many.slice(0, 3);
const template = "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}{{ tools | tojson if loop.first }}{% endfor %}";
const slow = "{% for m in messages %}{% for i in range(10000) %}{% endfor %}{% endfor %}done";
const endless = "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}";

test.each([
  ["a long chat under a template", many, { template, tools: [{ name: "f", parameters: { type: "object" } }] }],
  ["a long chat in a built-in form", many, { form: "jamba", documents: [{ text: "d" }] }],
  ["a long chat in the other form", many, { form: "chatml", tools: [] }],
  ["a long chat that goes on", [...many, { role: "assistant", content: "and", prefix: true }], { template }],
  ["a template that takes long", few, { template: slow }],
  ["a short one", few, { template }],
] as const)("%s is the same beside others", async (_, messages, options) => {
  let text = "";
  const turns = await turnsDuring(async () => {
    text = await renderChatAsync(messages as Message[], options);
  });
  expect(text === renderChat(messages as Message[], options)).toBe(true);
  if (_ !== "a short one") expect(turns).toBeGreaterThan(3);
});

test.each([
  ["a message that is none", [...many, { role: "nobody", content: "" }], {}, "TOKENIZER", /^messages\[20000\].role/],
  [
    "options that contradict each other",
    many.concat({ role: "assistant", content: "a", prefix: true }),
    { addGenerationPrompt: true },
    "OPTION",
    /both/,
  ],
  [
    "a template that refuses",
    many,
    { template: "{% for m in messages %}{% endfor %}{{ raise_exception('no') }}" },
    "TOKENIZER",
    /found "no"/,
  ],
  ["a template without an end", few, { template: endless }, "TOKENIZER", /steps/],
] as const)("%s is the same error there", async (_, messages, options, code, message) => {
  const refused = expect.objectContaining({ code, message: expect.stringMatching(message) });
  await expect(renderChatAsync(messages as unknown as Message[], { form: "jamba", ...options })).rejects.toEqual(refused);
  expect(await renderChatAsync(few, { form: "jamba" })).toBe(renderChat(few, { form: "jamba" }));
});

test("a signal ends it, and those beside it and after it are well", async () => {
  const controller = new AbortController();
  const cut = Array.from({ length: 3 }, () => renderChatAsync(few, { template: endless }, { signal: controller.signal }));
  const beside = renderChatAsync(many, { template });
  setTimeout(() => controller.abort(new Error("enough")), 50);
  for (const one of await Promise.allSettled(cut)) expect(one).toMatchObject({ status: "rejected", reason: { message: "enough" } });
  expect(await beside).toBe(renderChat(many, { template }));
});

test("what can't be sent to a worker is rendered in place", async () => {
  const variables = { shout: (text: unknown) => String(text).toUpperCase() };
  const loud = "{% for m in messages %}{{ shout(m.content) }}{% endfor %}";
  expect(await renderChatAsync(many, { template: loud, variables })).toBe(renderChat(many, { template: loud, variables }));
});

test("where no worker can be had it is done in place, and says so", async () => {
  vi.resetModules();
  vi.doMock("node:worker_threads", () => ({
    Worker: class {
      constructor() {
        throw new Error("no workers here");
      }
    },
  }));
  const warn = vi.spyOn(console, "warn").mockReturnValue();
  try {
    const { renderChatAsync } = await import("./index.ts");
    for (let i = 0; i < 2; i++) expect(await renderChatAsync(many, { template })).toBe(renderChat(many, { template }));
    expect(warn.mock.calls).toEqual([[expect.stringMatching(/no worker can be had: no workers here/)]]);
  } finally {
    vi.doUnmock("node:worker_threads");
    warn.mockRestore();
  }
});
