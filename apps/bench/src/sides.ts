// What a side is asked to do, and what it tells.

import type { CpuLevel } from "@jamba/backend-cpu";
import type { JambaModel } from "jamba";
import type { Sample } from "./statistics.ts";
import type { Limits, Scene, Work } from "./works.ts";

export interface Job {
  readonly side: "ours" | "before" | "theirs" | "limits";
  /** The checkout of `before`. */
  readonly from?: string;
  /** The model: our folder, the peer's file. */
  readonly file: string;
  /** Folder with what the bench makes and installs. */
  readonly work: string;
  readonly threads: number;
  /** Of our kernels; the best one if not given. */
  readonly level?: CpuLevel;
  readonly contextTokens: number;
  /** Conversations at the same time. */
  readonly sequences: number;
  readonly vocabSize: number;
  /** Of one scene, or all without one. */
  readonly works: readonly Work[];
  readonly scene?: Scene;
  /** Of the scene's longest conversation. */
  readonly sceneTokens: number;
  /** Both sides of a round have the same conversations. */
  readonly seed: number;
  readonly profile: boolean;
}

export interface OpTime {
  readonly op: string;
  readonly ms: number;
  readonly calls: number;
}

/** Of a conversation. */
export interface Turn {
  /** Of the prompt. */
  readonly tokens: number;
  readonly read: number;
  readonly firstTokenMs: number;
  readonly totalMs: number;
}

/** Tokens read again, by request. */
export interface ReuseRow {
  readonly workload: string;
  readonly again: readonly number[];
  readonly target: readonly number[];
  /** With a state kept at each message end, of a side that must be told where. */
  readonly againByHand?: readonly number[];
}

export type Report =
  | { readonly kind: "sample"; readonly work: Work; readonly sample: Sample }
  | { readonly kind: "profile"; readonly work: Work; readonly ops: readonly OpTime[] }
  | { readonly kind: "turns"; readonly turns: readonly Turn[] }
  | { readonly kind: "reuse"; readonly rows: readonly ReuseRow[] }
  | { readonly kind: "device"; readonly device: string }
  | { readonly kind: "limits"; readonly limits: Limits }
  | { readonly kind: "failed"; readonly message: string };

export interface How {
  /** Called as each token is drawn. */
  readonly onToken?: () => void;
  /** Tries ahead what followed the same tokens before; ours. */
  readonly promptLookup?: boolean;
}

/** How a token is drawn, in words that both sides share; only what is given changes anything. */
export interface Sampler {
  /** 0: the most probable one. */
  readonly temperature: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly minP?: number;
  /** Log probabilities of so many tokens, and of the drawn one. */
  readonly topLogprobs?: number;
}

export interface Answer {
  readonly text: string;
  readonly promptTokens: number;
  readonly newTokens: number;
}

/** A library that is started, with no model yet. */
export interface Side {
  readonly device: string;
  load(): Promise<LoadedSide>;
}

/** A loaded model. */
export interface LoadedSide {
  /**
   * Reads `ids`, then draws tokens greedily. `onToken` is called for each and gives the one to go on from instead, or undefined to end.
   * With `goOn` a side that can may take what it has read already for the beginning of `ids`.
   */
  generate(ids: number[], onToken: () => number | undefined, goOn?: boolean): Promise<void>;
  /**
   * Reads `ids` and says `answer`, whatever the model would draw; goes on from what was read before where it can. Calls may overlap.
   * @returns how many of `ids` were read
   */
  reply(ids: readonly number[], answer: readonly number[], how?: How): Promise<number>;
  /** Reads `ids`, then draws exactly `tokens`, each told as it is drawn. Calls may overlap. */
  draw(ids: readonly number[], tokens: number, sampler: Sampler, onToken: () => void): Promise<void>;
  /** Goes on with a text by exactly `tokens`, drawn greedily. Calls may overlap. */
  answer(text: string, tokens: number): Promise<Answer>;
  /** Of a side whose callers say where states are kept: from here on at each message end, besides where its own chat keeps them. */
  keepEnds?(): void;
  /** Ours, for what the peer lacks. */
  readonly model?: JambaModel;
  /** @throws Error when the model computes no numbers */
  check(): Promise<void>;
  /** Time by kind of op since the last call, of a backend that knows. */
  profile?(): Promise<readonly OpTime[]>;
  close(): Promise<void>;
}
