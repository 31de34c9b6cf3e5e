// Prints, as the last line of a run, the sum that CI reads: `N passed, N failed, N skipped`.
import type { Reporter, TestModule } from "vitest/node";

export class SumReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[]): void {
    const count = { passed: 0, failed: errors.length, skipped: 0, pending: 0 };
    for (const module of modules) {
      if (module.state() === "failed" && module.errors().length > 0) count.failed++;
      for (const test of module.children.allTests()) count[test.result().state]++;
    }
    const line = `${count.passed} passed, ${count.failed} failed, ${count.skipped + count.pending} skipped\n`;
    // The default reporter writes its summary after this hook.
    process.once("beforeExit", () => process.stdout.write(line));
    process.once("exit", () => undefined);
  }
}
