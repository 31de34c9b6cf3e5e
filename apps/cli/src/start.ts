// What jamba does without a command, on a terminal: it shows which models there are and what fits this machine, and goes on with the one
// that is chosen.

import select, { Separator } from "@inquirer/select";
import { listCached, openCheckpoint } from "@jamba/loader";
import { JambaError, type MemoryPlan, planMemory } from "jamba";
import { type LocalModel, modelsOf, tinyModel } from "./downloaded.ts";
import { family, type Member } from "./family.ts";
import { bytesText, coloursFor, type Terminal } from "./terminal.ts";

/** Tokens that a model is planned with: a long conversation. */
const contextLength = 8192;
/** For the answers of the hub about a model; what has not come by then is shown as it was published. */
const hubMs = 4000;

interface Offer {
  readonly member: Member;
  readonly sizeBytes: number;
  readonly plan: MemoryPlan;
  /** Whether the hub itself told the sizes. */
  readonly isFromHub: boolean;
}

interface Choice {
  /** The command lines to go on with, one after another. */
  readonly commands: readonly (readonly string[])[];
}

/** @param run runs a command line. @returns the exit code */
export async function start(terminal: Terminal, run: (args: readonly string[]) => Promise<number>): Promise<number> {
  const { stderr } = terminal;
  stderr.write(coloursFor(stderr, terminal).dim("looking at what there is …"));
  const local = await localModels();
  const offers = await offersOf(new Set(local.map(({ id }) => id.replace(/:.*/, ""))));
  stderr.write("\r\u001b[K");
  for (;;) {
    const chosen = await ask(terminal, titleOf(offers), lists(local, offers));
    if (typeof chosen === "number") return chosen;
    const next = await ask(terminal, "id" in chosen ? chosen.id : chosen.member.id, "id" in chosen ? usesOf(chosen) : waysOf(chosen));
    // Escape leads back to the list.
    if (next === 0) continue;
    if (typeof next === "number") return next;
    for (const command of next.commands) {
      const code = await run(command);
      if (code !== 0) return code;
    }
    return 0;
  }
}

async function localModels(): Promise<LocalModel[]> {
  const models = [await tinyModel()];
  // A cache that can't be read is no reason to offer nothing: jamba list and jamba download say what is wrong with it.
  for (const repository of await listCached().catch(() => [])) models.push(...(await modelsOf(repository)).models);
  return models;
}

/** Of the family, what is not here yet. */
export async function offersOf(here: ReadonlySet<string>): Promise<Offer[]> {
  const members = family.filter(({ id }) => !here.has(id.replace(/:.*/, "")));
  const plans = new Map<string, Promise<MemoryPlan>>();
  const planned = (member: Member) => {
    const dtype = member.id.endsWith(":Q4_K_M") ? "q4" : "auto";
    const key = JSON.stringify([member.config, dtype]);
    if (!plans.has(key)) plans.set(key, planMemory(member.config, { contextLength, dtype }));
    return plans.get(key)!;
  };
  return Promise.all(
    members.map(async (member): Promise<Offer> => {
      const signal = AbortSignal.timeout(hubMs);
      try {
        return { member, ...(await fromHub(member.id, signal)), isFromHub: true };
      } catch (error) {
        if (!signal.aborted && !(error instanceof JambaError)) throw error;
        return { member, sizeBytes: member.fileBytes, plan: await planned(member), isFromHub: false };
      }
    }),
  );
}

async function fromHub(id: string, signal: AbortSignal): Promise<Pick<Offer, "sizeBytes" | "plan">> {
  await using checkpoint = await openCheckpoint(id, { signal });
  const sizeBytes = [...checkpoint.tensors.values()].reduce((sum, tensor) => sum + tensor.sizeBytes, 0);
  return { sizeBytes, plan: await planMemory(checkpoint, { contextLength, signal }) };
}

function titleOf(offers: readonly Offer[]): string {
  const [offer] = offers;
  return `Which model?${offer ? ` ${bytesText(offer.plan.memory.freeBytes)} of memory are free here` : ""}`;
}

type Item<T> = { readonly name: string; readonly value: T; readonly description?: string } | Separator;

export function lists(local: readonly LocalModel[], offers: readonly Offer[]): Item<LocalModel | Offer>[] {
  const short = (id: string) => id.replace(/^ai21labs\/(AI21-)?/, "");
  const width = Math.max(...[...local.map(({ id }) => id), ...offers.map(({ member }) => short(member.id))].map((name) => name.length));
  const line = (name: string, bytes: number, rest: string) => `${name.padEnd(width)} ${bytesText(bytes).padStart(9)}  ${rest}`;
  const isKnown = offers.some(({ isFromHub }) => !isFromHub);
  return [
    new Separator("on this disk"),
    ...local.map((model) => ({ name: line(model.id, model.sizeBytes, model.dtypes[0] ?? ""), value: model, description: model.path })),
    ...(offers.length > 0 ? [new Separator(isKnown ? "on the hub; * as published, for the hub did not tell" : "on the hub")] : []),
    ...offers.map((offer) => ({
      name: line(short(offer.member.id), offer.sizeBytes, `${verdict(offer.plan)}${offer.isFromHub ? "" : " *"}`),
      value: offer,
      description: `${offer.member.id}: ${offer.member.about}`,
    })),
  ];
}

/** In the dtype of most bits that fits. */
function verdict({ fits, dtypes }: MemoryPlan): string {
  const other = dtypes.find((one) => one.fits);
  return fits ? "fits" : other ? `fits as ${other.dtype}` : "does not fit";
}

function usesOf({ id }: LocalModel): Item<Choice>[] {
  return [
    { name: "chat", value: { commands: [["chat", id]] } },
    { name: "what it is, and what memory it takes", value: { commands: [["inspect", id]] } },
    { name: "serve it over HTTP", value: { commands: [["serve", id]] } },
  ];
}

function waysOf({ member: { id }, plan }: Offer): Item<Choice>[] {
  const other = plan.fits ? undefined : plan.dtypes.find(({ fits }) => fits)?.dtype;
  const chat = ["chat", id, ...(other === undefined ? [] : ["--dtype", other])];
  return [
    { name: "download it, then chat", value: { commands: [["download", id], chat] }, description: chat.join(" ") },
    { name: "download it", value: { commands: [["download", id]] } },
    { name: "what it is, and what memory it takes", value: { commands: [["inspect", id]] } },
  ];
}

/** @returns what was chosen, or the exit code: 0 for Escape, 130 for Ctrl-C */
async function ask<T extends object>({ stdin, stderr }: Terminal, message: string, choices: readonly Item<T>[]): Promise<T | 0 | 130> {
  const stop = new AbortController();
  const onKey = (_: unknown, key: { name?: string }) => key.name === "escape" && stop.abort();
  stdin.on("keypress", onKey);
  try {
    const theme = { indexMode: "number" as const };
    return await select<T>(
      { message, choices, theme, pageSize: 18, loop: false },
      { input: stdin, output: stderr, signal: stop.signal, clearPromptOnDone: true },
    );
  } catch (error) {
    const { name } = error as Error;
    if (name === "AbortPromptError") return 0;
    if (name === "ExitPromptError") return 130;
    throw error;
  } finally {
    stdin.off("keypress", onKey);
  }
}
