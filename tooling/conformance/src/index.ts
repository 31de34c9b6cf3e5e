export { type Case, cases } from "./cases.ts";
export { compare, type Difference, opTolerances, tolerances } from "./compare.ts";
export { normal, randomChunks, seeded, seedOf } from "./random.ts";
export { findMismatch, firstFault } from "./run-case.ts";
export { type SuiteOptions, testInvariants, testOps } from "./suite.ts";
