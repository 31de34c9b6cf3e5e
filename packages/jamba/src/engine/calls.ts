// What is asked of the engine, and what a call has while it runs.

import type { Owner } from "../state/tenant.ts";
import type { ActivePrompt } from "./active-prompts.ts";
import type { Limits } from "./admission.ts";
import type { Sequence } from "./advance.ts";
import type { KeptRow, Questions, RowEvidence } from "./evidence.ts";
import type { Snapshot } from "./prefix-tree.ts";
import type { SpillOptions } from "./spill.ts";
import type { Party } from "./turns.ts";

export type KeptState = Snapshot<Sequence, KeptRow>;

export type Active = ActivePrompt<KeptState>;

export interface EngineOptions extends SpillOptions {
  /** All that decides the bits of what is read: dtypes, of keys and values too, and the device's `numerics`. */
  readonly numerics: string;
  /** Tokens that end a message: states are kept there. */
  readonly stopIds: ReadonlySet<number>;
  /** Of states that are kept although no call and no session holds them. */
  readonly cacheBytes: number;
  /** Of calls that run at the same time. */
  readonly limits: Limits;
}

export interface OpenOptions extends Owner, Pick<Party, "request"> {
  /** The most that the answer may add. */
  readonly maxTokens: number;
  readonly priority?: number;
  /** Of the first draw. */
  readonly questions?: Questions;
  /** A state that the prompt may go on from although it was made elsewhere. */
  readonly from?: KeptState;
  readonly signal?: AbortSignal;
}

/** A prompt that is being read. */
export interface ReadingPrompt {
  readonly ids: readonly number[];
  readonly owner: Owner;
  readonly active: Active;
  readonly sequence: Sequence;
}

/** A prompt that was read, and the answer that goes on from it. */
export interface Opened {
  sequence: Sequence;
  /** What `sequence` has read. */
  readonly ids: number[];
  /** Of the last token of the prompt. */
  readonly evidence: RowEvidence;
  /** Tokens of the prompt that a kept state had read before. */
  readonly cachedTokens: number;
  readonly cacheMissReason?: string;
  readonly owner: Owner;
  /** Ends the stay among the running calls. */
  readonly leave: () => void;
}
