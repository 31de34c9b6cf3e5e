import { readFileSync } from "node:fs";
import { describe, expect, test, vi } from "vitest";
import { renderChat } from "../index.ts";
import { compileTemplate } from "./template.ts";

interface Fixture {
  readonly variables: Readonly<Record<string, unknown>>;
  readonly templates: Readonly<Record<string, readonly string[]>>;
  readonly made: Readonly<Record<string, readonly (string | null)[]>>;
  readonly refused: readonly string[];
}

/** See tooling/golden/make-templates.py. */
const fixture = JSON.parse(readFileSync(new URL("jinja2.fixture.json", import.meta.url), "utf8")) as Fixture;
const render = (template: string, variables = fixture.variables) => compileTemplate(template)(variables);

describe.each(Object.keys(fixture.templates))("%s is as in Jinja2", (kind) => {
  test.each(fixture.templates[kind].map((template, i) => [template, fixture.made[kind][i]] as const))("%s", (template, made) => {
    if (made === null) expect(() => render(template)).toThrow();
    else expect(render(template)).toBe(made);
  });
});

test.each(fixture.refused)("%s is not read, and says so", (template) => {
  expect(() => renderChat([], { template, variables: fixture.variables })).toThrow(expect.objectContaining({ code: "TOKENIZER" }));
});

test("numbers from JSON keep their kinds, and those from JavaScript get them by their values", () => {
  const given = { i: 3, f: 2.5, big: 12345678901234567890n, huge: 1e21, none: null };
  expect(render("{{ i }} {{ f }} {{ big + 1 }} {{ huge }} {{ none }} {{ i / 1 }}", given)).toBe(
    "3 2.5 12345678901234567891 1000000000000000000000 None 3.0",
  );
});

test("functions among the variables are called with values of JavaScript", () => {
  const join = vi.fn((parts: unknown, by: unknown) => ({ text: (parts as string[]).join(by as string) }));
  expect(render("{{ join(['a', 'b'], '-').text }}", { join })).toBe("a-b");
  expect(join).toHaveBeenCalledWith(["a", "b"], "-");
});

test("a template changes nothing of what it is given", () => {
  const list = [1];
  for (const template of ["{% set _ = list.append(2) %}", "{% set list.x = 1 %}", "{% set _ = list.sort() %}"])
    expect(() => render(template, { list })).toThrow();
  expect(list).toEqual([1]);
});

test("what would take all memory is refused", () => {
  for (const template of [
    "{{ 'a' * 2000000000 }}",
    "{{ [0] * 99999999 }}",
    "{{ range(10 ** 9) }}",
    "{{ 10 ** 99999 }}",
    "{{ '%1000000000d' % 1 }}",
  ])
    expect(() => render(template)).toThrow();
});

test("dates are Python's, in no language", () => {
  vi.useFakeTimers({ now: new Date(2024, 6, 4, 15, 5, 9) });
  try {
    expect(render("{{ strftime_now('%d %b %Y|%B %-d, %A|%y-%m-%e|%H:%M:%S %I %p|%j %F %T %% %a') }}")).toBe(
      "04 Jul 2024|July 4, Thursday|24-07- 4|15:05:09 03 PM|186 2024-07-04 15:05:09 % Thu",
    );
  } finally {
    vi.useRealTimers();
  }
});

test.each([
  ["{{ messages[0].nope.x }}", /'dict object' has no attribute 'nope' is undefined/],
  ["{{ nothing() }}", /'nothing' is undefined/],
  ["{{ 'a' + 1 }}", /can only concatenate str \(not "int"\) to str/],
  ["{{ 1 | nope }}", /No filter named 'nope'/],
  ["{{ raise_exception('Roles must alternate') }}", /found "Roles must alternate"/],
  ["{% if %}", /chat template/],
])("%s says what Python would", (template, message) => {
  expect(() => renderChat([{ role: "user", content: "Hi" }], { template })).toThrow(
    expect.objectContaining({ code: "TOKENIZER", message: expect.stringMatching(message) }),
  );
});

test("a variable that would hide a word of the language is refused", () => {
  expect(() => render("{{ range(2) }}", { range: 1 })).toThrow(/range: expected another name/);
});
