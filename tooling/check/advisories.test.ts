import { expect, test } from "vitest";
// @ts-expect-error a script without types
import { judge } from "./advisories.mjs";

const report = (...severities: string[]) =>
  JSON.stringify({
    advisories: Object.fromEntries(
      severities.map((severity, i) => [i, { severity, module_name: "m", vulnerable_versions: "<2", title: "t", url: "u" }]),
    ),
    metadata: { vulnerabilities: {} },
  });

test("a high or critical advisory fails, a lower one is printed, and none is said", () => {
  expect(judge(report("low", "high"))).toEqual({ fails: true, lines: ["low: m <2: t (u)", "high: m <2: t (u)"] });
  expect(judge(report("critical")).fails).toBe(true);
  expect(judge(report("moderate"))).toEqual({ fails: false, lines: ["moderate: m <2: t (u)"] });
  expect(judge(report())).toEqual({ fails: false, lines: ["no known advisories of what runs"] });
});

test.each([
  "",
  "getaddrinfo EAI_AGAIN registry",
  "{}",
  "null",
  '{"error":{"code":"ERR_PNPM_AUDIT_BAD_RESPONSE","message":"responded with 404"}}',
])("no report, as in %j, is a printed skip with its reason", (output) => {
  const { fails, lines } = judge(output);
  expect([fails, lines.length]).toEqual([false, 1]);
  expect(lines[0]).toMatch(/^advisories: skipped, since .*: \S/);
});
