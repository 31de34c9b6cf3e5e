export { type Case, cases } from "./cases.ts";
export { compare, type Difference, opTolerances, tolerances } from "./compare.ts";
export { normal, randomChunks, seeded, seedOf, startsOf } from "./random.ts";
export { findMismatch, firstFault } from "./run-case.ts";
export { openSmallModel, randomIds, type SmallModel, type Turn } from "./small-model.ts";
export { type SuiteOptions, testInvariants, testOps } from "./suite.ts";
