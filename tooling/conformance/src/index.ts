export { type Case, cases } from "./cases.ts";
export { compare, type Difference, opTolerances, tolerances } from "./compare.ts";
export { normal, randomChunks, seeded, seedOf, startsOf } from "./random.ts";
export { findMismatch, firstFault, heldValues } from "./run-case.ts";
export { openSmallModel, randomIds, type SmallModel, type Turn } from "./small-model.ts";
export { floatsAt, lossOf, mostLost, randomBlocks, storedSource } from "./stored.ts";
export { type SuiteOptions, testInvariants, testOps } from "./suite.ts";
