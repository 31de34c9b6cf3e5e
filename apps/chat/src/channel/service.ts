// What tabs ask of the worker that owns the model, and what it tells all of them. Types alone.

import type { BackendName, GenerateOptions, LoadDtype, MemoryUse, ReadTree } from "jamba";
import type { DownloadProgress } from "../models/download.ts";
import type { Conversation, ConversationSummary } from "../storage/conversations.ts";
import type { ChatMessage } from "../transport/index.ts";

/** Which model: the small one that is served with the page, one that was downloaded, or files that a person dropped. */
export type ModelChoice =
  | { readonly kind: "small" }
  | { readonly kind: "stored"; readonly id: string; readonly dtype?: LoadDtype; readonly contextLength?: number }
  | { readonly kind: "files"; readonly name: string; readonly files: readonly File[] };

/** What it shall run on: the fastest that works, a GPU even if it is none but plays one, or the processor. */
export type DeviceChoice = Extract<BackendName, "auto" | "webgpu" | "wasm">;

export interface ModelStatus {
  readonly phase: "none" | "loading" | "ready" | "failed";
  readonly name: string;
  readonly kind?: ModelChoice["kind"];
  /** While it is loading. */
  readonly progress?: { readonly what: "fetch" | "load"; readonly doneBytes: number; readonly totalBytes: number };
  readonly error?: string;
  /** What happened to the GPU that ran it, since when the processor does. */
  readonly lost?: string;
  readonly ready?: ReadyModel;
}

export interface ReadyModel {
  readonly device: string;
  readonly isGpu: boolean;
  readonly threads: number;
  /** Why no GPU runs it; which kernels do, and which do not, each with its reason. */
  readonly features: readonly string[];
  readonly warnings: readonly string[];
  readonly dtypes: readonly string[];
  readonly contextLength: number;
  readonly loadMs: number;
}

export interface StorageStatus {
  readonly kind: "private" | "memory";
  readonly reason?: string;
  readonly usedBytes?: number;
  readonly quotaBytes?: number;
}

/** Of the model's work, a few times a second while it works. */
export interface Live {
  readonly answers: readonly LiveAnswer[];
  readonly memory?: MemoryUse;
  readonly states: { readonly count: number; readonly bytes: number };
}

export interface LiveAnswer {
  readonly chatId: string;
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly tokens: number;
  readonly tokensPerSecond: number;
}

export type Events = {
  /** Another worker owns the model; its name. */
  owner: string;
  model: ModelStatus;
  storage: StorageStatus;
  live: Live;
  /** Of one that is on its way; neither progress nor error once it is there, or was stopped. */
  download: { readonly id: string; readonly progress?: DownloadProgress; readonly error?: string };
  /** The model asks for the page in this colour. */
  paint: { readonly colour: string };
  /** A conversation was written or removed. */
  conversations: { readonly id: string; readonly isRemoved?: true };
};

export interface AnswerRequest {
  readonly chatId: string;
  /** From the first to the last that is answered: one branch. */
  readonly messages: readonly ChatMessage[];
  readonly options: AnswerSettings;
}

/** What a page may ask of an answer: what has a plain form. */
export type AnswerSettings = Pick<GenerateOptions, "maxTokens" | "temperature" | "topP" | "seed" | "format" | "truncation"> & {
  readonly system?: string;
  /** Names of the page's own tools. */
  readonly tools?: readonly string[];
};

/** What a model would take on this device, before any of it is fetched. */
export interface ModelPlan {
  readonly id: string;
  readonly downloadBytes: number;
  /** How it would be held. */
  readonly dtype: LoadDtype;
  readonly contextLength: number;
  readonly totalBytes: number;
  readonly fits: boolean;
  /** That are free for it. */
  readonly memoryBytes: number;
  readonly device: string;
}

/** A stretch of what was read, with its text in place of its tokens. */
export interface Stretch {
  readonly text: string;
  readonly tokens: number;
  /** Tokens from the beginning to its end. */
  readonly depth: number;
  readonly state?: ReadTree["state"];
}

/** Stretches one after another, up to where what was read parts. */
export interface TreeBranch {
  readonly stretches: readonly Stretch[];
  readonly children: readonly TreeBranch[];
}

export type { Conversation, ConversationSummary };
