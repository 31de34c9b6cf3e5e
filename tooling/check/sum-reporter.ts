// Prints, as the last line of a run, the sum that CI reads: `N passed, N failed, N skipped`.

import type { Reporter, TestModule } from "vitest/node";

export class SumReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[]): void {
    const count = { passed: 0, failed: errors.length, skipped: 0, pending: 0 };
    const reasons = new Map<string, number>();
    for (const module of modules) {
      // A file or suite that breaks outside its tests fails without any test having failed.
      count.failed += module.errors().length;
      for (const suite of module.children.allSuites()) count.failed += suite.errors().length;
      for (const test of module.children.allTests()) {
        const result = test.result();
        count[result.state]++;
        if (result.state !== "skipped") continue;
        const reason = result.note ?? `no reason given: ${test.fullName}`;
        reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
      }
    }
    const lines = [...reasons].map(([reason, n]) => `skipped ${n}: ${reason}`);
    lines.push(`${count.passed} passed, ${count.failed} failed, ${count.skipped + count.pending} skipped`);
    // The default reporter writes its summary after this hook, and Vitest may end by process.exit().
    process.once("exit", () => process.stdout.write(`${lines.join("\n")}\n`));
  }
}
