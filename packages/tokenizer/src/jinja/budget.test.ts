import { expect, test } from "vitest";
import { renderChat } from "../index.ts";
import { mostSteps, OutOfSteps, withSteps } from "./budget.ts";
import { compileTemplate } from "./template.ts";

const messages = [{ role: "user" as const, content: "Hi" }];
const render = (template: string, variables = {}) => renderChat(messages, { template, variables });
/** Fewer than a chat has, so that the test is quick. */
const few = 2 ** 21;

const double = (what: string, by: string) =>
  `{% set ns = namespace(x=${what}) %}{% for i in range(60) %}{% set ns.x = ${by} %}{% endfor %}`;
const big = "{% set a = 'a' * 100000 %}";

test.each([
  ["loops", "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}"],
  ["filtered loops", "{% for a in range(100000) %}{% for b in range(100000) if false %}{% endfor %}{% endfor %}"],
  ["a doubled text", double("'a'", "ns.x ~ ns.x")],
  ["a doubled text by +", double("'a'", "ns.x + ns.x")],
  ["a doubled list", double("[1]", "ns.x + ns.x")],
  ["a doubled text by replace", double("'aa'", "ns.x | replace('a', 'aa')")],
  ["a doubled text by join", double("'a'", "[ns.x, ns.x] | join")],
  ["a doubled text by a method", double("'a'", "''.join([ns.x, ns.x])")],
  ["a doubled text by format", double("'a'", "'%s%s' % (ns.x, ns.x)")],
  ["a doubled text by braces", double("'a'", "'{0}{0}'.format(ns.x)")],
  [
    "a doubled text by a block",
    double("'a'", "ns.x").replace("{% set ns.x = ns.x %}", "{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}"),
  ],
  ["a shared list that is printed", `${double("[1]", "[ns.x, ns.x]")}{{ ns.x }}`],
  ["a shared list as JSON", `${double("[1]", "[ns.x, ns.x]")}{{ ns.x | tojson }}`],
  ["shared lists that are compared", `${double("[1]", "[ns.x, ns.x]")}{% set m = ns.x %}${double("[1]", "[ns.x, ns.x]")}{{ m == ns.x }}`],
  ["a shared list for a function", `${double("[1]", "[ns.x, ns.x]")}{{ call(ns.x) }}`],
  ["a text that is repeated", "{{ 'a' * 2000000000 }}"],
  ["a list that is repeated", "{{ [0] * 99999999 }}"],
  ["a tuple that is repeated", "{{ (0, 1) * 99999999 }}"],
  ["a field", "{{ '%1000000000d' % 1 }}"],
  ["a field whose width is given", "{{ '%*d' % (1000000000, 1) }}"],
  ["a precision", "{{ '%.1000000000f' % 1.5 }}"],
  ["digits", "{{ '%.1000000000d' % 1 }}"],
  ["a field in braces", "{{ '{:1000000000}'.format(1) }}"],
  ["a field with zeros in braces", "{{ '{:01000000000d}'.format(1) }}"],
  ["many fields", "{{ '%1000000d' % 1 }}".repeat(200)],
  ["rounding", "{{ 1.5 | round(1000000000) }}"],
  ["indent", "{{ ('\\n' * 100000) | indent(1000000, blank=true) }}"],
  ["indented JSON", "{{ range(100000) | list | tojson(indent=1000000) }}"],
  ["a separator", `${big}{{ range(100000) | map('string') | join(a) }}`],
  ["zfill", "{{ '1'.zfill(1000000000) }}"],
  ["ljust", "{{ '1'.ljust(1000000000) }}"],
  ["center", "{{ '1'.center(1000000000, '-') }}"],
  ["a large number", "{{ 10 ** 99999 }}"],
  ["powers of powers", "{{ ((10 ** 4000) ** 4000) ** 4000 }}"],
  ["a number that is squared", double("10 ** 100", "ns.x * ns.x")],
  ["replacing by nothing", `${big}{{ a | replace('', a) }}`],
  ["looking for a long text", `${big}{{ (a + 'b') in (a * 20) }}{{ (a * 20).find('b' + a) }}{{ (a * 20).split('b' + a) }}`],
  ["unique", "{{ range(100000) | unique | list }}"],
  ["sorting long texts", `${big}{% set l = [a] * 100000 %}{{ l | sort | length }}`],
  ["splitting again and again", `${big}{% for i in range(1000) %}{{ a.split('a') | length }}{% endfor %}`],
  ["characters again and again", `${big}{% for i in range(1000) %}{{ a[i] }}{% endfor %}`],
  ["slices", "{% set l = range(100000) %}{% for i in l %}{% set x = l[i:] %}{% endfor %}"],
  ["keys", `${big}{% for i in range(1000) %}{% set d = {a ~ i: 1} %}{{ d[a ~ i] }}{% endfor %}`],
  [
    "a macro that is called for ever",
    "{% macro f(n) %}{% for i in range(10) %}{{ f(n) if n else '' }}{{ f(n - 1) if n > 0 }}{% endfor %}{% endmacro %}{{ f(20) }}",
    /./,
  ],
  ["a macro that calls itself", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", /calls itself less deep/],
  ["a namespace within itself", "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}", /calls itself less deep/],
  ["brackets", `{{ ${"(".repeat(5000)}1${")".repeat(5000)} }}`, /at most 200 brackets/],
  ["tests within tests", `{{ ${"x is a(".repeat(5000)}1${")".repeat(5000)} }}`, /at most 200 brackets/],
  ["blocks", `${"{% if x %}".repeat(50_000)}`, /./],
  ["operators", `{{ 1${" + 1".repeat(50_000)} }}`, /./],
  ["filters", `{{ 1${" | string".repeat(50_000)} }}`, /./],
  ["a long template", "a".repeat(2 ** 20), /at most 524288 characters/],
  ["spaces", `a${" ".repeat(100_000)}b`, /at most 256 spaces/],
])("%s: a template ends by its limits", (_, template, message?: RegExp) => {
  const call = (given: unknown) => String(given).length;
  if (message) {
    const isRefused = expect.objectContaining({ code: "TOKENIZER", message: expect.stringMatching(message) });
    expect(() => render(template, { call })).toThrow(isRefused);
  } else expect(() => compileTemplate(template)({ call }, few)).toThrow(/expected (at most|integers of at most|a width of at most)/);
});

test("a chat says what its template takes", () => {
  expect(() => render("{{ 'a' * 2000000000 }}")).toThrow(
    expect.objectContaining({ code: "TOKENIZER", message: expect.stringMatching(/^chat template: expected at most 134,217,728 steps/) }),
  );
});

test("what is too much is the same every time", () => {
  const template = "{% for i in range(n) %}{{ [i] | tojson }}{% endfor %}";
  const compiled = compileTemplate(template);
  const fits = (n: number) => {
    try {
      compiled({ n }, 2 ** 16);
      return true;
    } catch (error) {
      expect(error).toBeInstanceOf(OutOfSteps);
      return false;
    }
  };
  let most = 0;
  while (fits(most + 1)) most++;
  expect(most).toBeGreaterThan(100);
  for (let i = 0; i < 3; i++) expect([fits(most), fits(most + 1)]).toEqual([true, false]);
});

test("a long conversation is far from the limits", () => {
  const template = `{%- for message in messages %}{%- set content = message.content | trim %}{%- if message.role == 'user' %}
{{- '<|im_start|>user\\n' + content.split('</think>')[-1].lstrip('\\n') + '<|im_end|>\\n' }}{%- else %}
{{- '<|im_start|>' + message['role'] + '\\n' + content | replace('a', 'b') + '<|im_end|>\\n' }}{%- endif %}{%- endfor %}`;
  const roles = ["user", "assistant"] as const;
  const many = Array.from({ length: 60_000 }, (_, i) => ({
    role: roles[i % 2],
    content: "some words of it, which are not long ".repeat(2),
  }));
  expect(renderChat(many, { template }).length).toBeGreaterThan(6_000_000);
});

test("budgets within each other are each its own", () => {
  expect(() => withSteps(10, () => withSteps(mostSteps, () => render("{{ 'a' * 1000 }}")))).not.toThrow();
  const compiled = compileTemplate("{{ inner() }}{{ 'a' * 1000 }}");
  expect(() => compiled({ inner: () => render("{{ 'a' * 10000 }}") }, 2000)).toThrow(OutOfSteps);
});
