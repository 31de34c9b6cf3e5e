import { describe, expect, test } from "vitest";
import { type ChatOptions, continuedWords, type Message, renderChat } from "./index.ts";

const user: Message = { role: "user", content: "Hi" };
const answer = (content: string, more: Partial<Message> = {}): Message => ({ role: "assistant", content, ...more });
const open = { continueFinalMessage: true };

/** The text, and the words of it that the answer goes on from. */
function render(messages: readonly Message[], options: ChatOptions) {
  const text = renderChat(messages, options);
  return [text, continuedWords(messages, options, text)];
}

const jambaHead = "<|startoftext|><|bom|><|system|> <|eom|><|bom|><|user|> Hi<|eom|><|bom|><|assistant|> ";
const chatmlHead = "<|startoftext|><|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n";
const asked =
  "Begin by thinking about the reasoning process in the mind within <think> </think> tags and then proceed to give your response.\n";
const chatmlAsked = chatmlHead.replace("Hi", `${asked}Hi`);

/** As many templates have it. */
const plain = "{% for m in messages %}[{{ m.role }}]{{ m.content }}[end]\n{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";
const trimming = plain.replace("m.content", "m.content | trim");
const stripping = plain.replace("m.content", "m.content.split('</think>')[-1].lstrip()");
const thinking = plain.replace(
  "{{ m.content }}",
  "{% set c = m.content %}{% if '</think>' in c %}<think>\n{{ c.split('</think>')[0].split('<think>')[-1].strip() }}\n</think>\n\n{{ c.split('</think>')[-1].lstrip() }}{% else %}{{ c }}{% endif %}",
);
const withThoughts = plain.replace(
  "{{ m.content }}",
  "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}",
);

describe("a last message that is continued ends the text with its words", () => {
  test.each<[string, ChatOptions, Message, string, string]>([
    ["jamba", { form: "jamba" }, answer("So"), `${jambaHead}So`, "So"],
    ["jamba, a space behind", { form: "jamba" }, answer("So "), `${jambaHead}So `, "So "],
    ["jamba, no words yet", { form: "jamba" }, answer(""), jambaHead, ""],
    ["jamba, citations", { form: "jamba", knobs: {} }, answer("So", { citations: [{ documentId: 1 }] }), `${jambaHead}So`, "So"],
    ["chatml, no thoughts", { form: "chatml" }, answer("So"), `${chatmlHead}So`, "So"],
    ["chatml, open thoughts", { form: "chatml" }, answer("<think>\nWell"), `${chatmlAsked}<think>\nWell`, "<think>\nWell"],
    ["chatml, whole thoughts", { form: "chatml" }, answer("So", { reasoning: "a" }), `${chatmlAsked}<think>\na\n</think>\n\nSo`, "So"],
    ["chatml, thoughts alone", { form: "chatml" }, answer("", { reasoning: "Well, " }), `${chatmlAsked}<think>\nWell, `, "<think>\nWell, "],
    ["chatml, thoughts moved", { form: "chatml" }, answer("<think>a</think>b"), `${chatmlAsked}<think>\na\n</think>\n\nb`, "<think>\na\n</think>\n\nb"],
    ["chatml, no thoughts said", { form: "chatml" }, answer("<think>\n\n</think>\n\nb"), `${chatmlHead}<think>\n\n</think>\n\nb`, "<think>\n\n</think>\n\nb"],
    ["own", { template: plain }, answer(" So  "), "[user]Hi[end]\n[assistant] So  ", " So  "],
    ["own, trimmed", { template: trimming }, answer(" So  "), "[user]Hi[end]\n[assistant]So", "So"],
    ["own, thoughts moved", { template: thinking }, answer("<think>a</think>b "), "[user]Hi[end]\n[assistant]<think>\na\n</think>\n\nb ", "<think>\na\n</think>\n\nb "],
    ["own, thoughts left out", { template: stripping }, answer("<think>a</think>b"), "[user]Hi[end]\n[assistant]<think>a</think>b", "<think>a</think>b"],
    ["own, thoughts alone", { template: withThoughts }, answer("", { reasoning: "Well" }), "[user]Hi[end]\n[assistant]<think>Well", "<think>Well"],
    ["own, words said before", { template: plain }, answer("Hi"), "[user]Hi[end]\n[assistant]Hi", "Hi"],
  ])("%s", (_, options, last, text, words) => {
    expect(render([user, last], { ...options, ...open })).toEqual([text, words]);
    expect(render([user, { ...last, prefix: true }], options)).toEqual([text, words]);
    expect(render([user, { ...last, prefix: true }], { ...options, ...open, addGenerationPrompt: false })).toEqual([text, words]);
  }); // biome-ignore format: a table
});

test("parts of a text are continued as the text that they are", () => {
  const parts = [
    { type: "text", text: "S" },
    { type: "text", text: "o" },
  ] as const;
  expect(render([user, { role: "assistant", content: parts, prefix: true }], { form: "jamba" })).toEqual([`${jambaHead}So`, "So"]);
});

test("thoughts that the template leaves out are not found in a question that has the same words", () => {
  const template = plain.replace("m.content", "m.content.split('</think>')[-1] if m.role == 'assistant' else m.content");
  const said = "<think>a</think>b";
  expect(render([{ role: "user", content: said }, answer(said)], { template, ...open })).toEqual([
    `[user]${said}[end]\n[assistant]${said}`,
    said,
  ]);
});

test("without either the text ends behind the last message, and an earlier prefix says nothing", () => {
  const messages = [user, answer("So", { prefix: true }), user];
  expect(render(messages, { template: plain })).toEqual(["[user]Hi[end]\n[assistant]So[end]\n[user]Hi[end]\n[assistant]", undefined]);
  const closed = { template: plain, addGenerationPrompt: false, continueFinalMessage: false };
  expect(render(messages.slice(0, 1), closed)).toEqual(["[user]Hi[end]\n", undefined]);
  expect(render([user, answer("So")], { form: "jamba", addGenerationPrompt: false })[0]).toBe(`${jambaHead}So<|eom|>`);
  expect(render([user, answer("So")], { form: "jamba" })[0]).toBe(`${jambaHead}So<|eom|><|bom|><|assistant|>`);
});

test.each<[string, readonly unknown[], ChatOptions, string, string]>([
  ["both", [user, answer("So")], { ...open, addGenerationPrompt: true }, "OPTION", "continueFinalMessage: expected no addGenerationPrompt"],
  [
    "both, as a prefix",
    [user, answer("So", { prefix: true })],
    { addGenerationPrompt: true },
    "OPTION",
    "messages[1].prefix: expected no add",
  ],
  ["yes and no", [user, answer("So", { prefix: true })], { continueFinalMessage: false }, "OPTION", "messages[1].prefix: expected no cont"],
  [
    "a question",
    [user],
    open,
    "TOKENIZER",
    "messages[0].role: expected a last message of the assistant to continue, found one of the user",
  ],
  ["nothing", [], open, "TOKENIZER", "messages: expected a last message of the assistant to continue, found none"],
  ["no content", [user, { role: "assistant" }], open, "TOKENIZER", "messages[1].content: expected a text to continue, found none"],
  ["calls", [user, answer("So", { toolCalls: [{ name: "f", arguments: {} }] })], open, "TOKENIZER", "messages[1].toolCalls: expected none"],
  ["a prefix of the user", [{ ...user, prefix: true }], {}, "TOKENIZER", "messages[0].prefix: expected it on a message of the assistant"],
  ["a prefix that is none", [user, answer("So", { prefix: "So" as never })], {}, "TOKENIZER", "messages[1].prefix: expected true or false"],
  ["a template that hides it", [user, answer("So")], { ...open, template: "{{ messages[0].content }}" }, "TOKENIZER", "leaves it out"],
  ["thoughts that the form hides", [user, answer("", { reasoning: "a" })], open, "TOKENIZER", "messages[1].reasoning_content: expected"],
])("refuses to continue %s", (_, messages, options, code, message) => {
  const run = () => renderChat(messages as Message[], { form: "jamba", ...options });
  expect(run).toThrow(expect.objectContaining({ code, message: expect.stringContaining(message) }));
});
