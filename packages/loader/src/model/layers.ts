// Which mixer and which feed-forward part each layer has: by period and offset, or layer by layer.

import type { Warn } from "../source/untrusted.ts";
import { type ConfigReader, limits } from "./config-reader.ts";

export type LayerKind = "mamba" | "attention";
type FfnKind = "mlp" | "moe";

export interface Layers {
  readonly nLayers: number;
  readonly nExperts: number;
  readonly layerKinds: readonly LayerKind[];
  readonly ffnKinds: readonly FfnKind[];
}

/** Lists of one entry for each layer, and what their entries mean. */
type Lists<Kind> = Readonly<Record<string, Readonly<Record<string, Kind>>>>;

const mixers = { mamba: "mamba", linear_attention: "mamba", attention: "attention", full_attention: "attention" } as const;
/** The historic list, which files of GGUF are read as too, and transformers' own. */
const mixerLists: Lists<LayerKind> = { layers_block_type: mixers, layer_types: mixers };

/**
 * A list decides, where there is one. transformers reads none for Jamba: a file that has one was written by another program, for a
 * pattern that may have no period.
 * @throws LoadError for lists that are damaged or contradict each other
 */
export function layersOf(read: ConfigReader, warn: Warn): Layers {
  const nExperts = read.integer(read.has("num_experts") ? "num_experts" : "num_local_experts", 16, 1, limits.layers);
  const ffnLists: Lists<FfnKind> = {
    layers_num_experts: { 1: "mlp", [nExperts]: nExperts > 1 ? "moe" : "mlp" },
    mlp_layer_types: { dense: "mlp", sparse: "moe" },
  };
  const list = Object.keys(mixerLists).map(read.value).find(Array.isArray);
  const nLayers = read.integer("num_hidden_layers", (!read.has("attn_layer_period") && list?.length) || 32, 1, limits.layers);
  const kinds = <Kind>(of: Pattern<Kind>) => patternOf(read, nLayers, of, warn);
  return {
    nLayers,
    nExperts,
    layerKinds: kinds<LayerKind>({ lists: mixerLists, key: "attn_layer", period: 8, offset: 4, each: "attention", other: "mamba" }),
    ffnKinds:
      nExperts === 1
        ? new Array<FfnKind>(nLayers).fill("mlp")
        : kinds<FfnKind>({ lists: ffnLists, key: "expert_layer", period: 2, offset: 1, each: "moe", other: "mlp" }),
  };
}

interface Pattern<Kind> {
  readonly lists: Lists<Kind>;
  /** Of a period and an offset, with their defaults; they name the layers that are `each`. */
  readonly key: "attn_layer" | "expert_layer";
  readonly period: number;
  readonly offset: number;
  readonly each: Kind;
  readonly other: Kind;
}

function patternOf<Kind>(
  read: ConfigReader,
  nLayers: number,
  { lists, key, period, offset, each, other }: Pattern<Kind>,
  warn: Warn,
): Kind[] {
  const hasPeriod = read.has(`${key}_period`) || read.has(`${key}_offset`);
  const every = read.every(key, period, offset);
  const byPeriod = Array.from({ length: nLayers }, (_, layer) => (every(layer) ? each : other));
  const [first, second] = Object.keys(lists).flatMap((list) => {
    const kinds = kindsOf<Kind>(read.value(list), lists[list], nLayers);
    if (kinds !== undefined) return [{ list, kinds }];
    if (!read.has(list)) return [];
    const expected = `${nLayers} times ${Object.keys(lists[list]).join(" or ")}`;
    if (!hasPeriod) return read.fail(list, expected);
    warn(`${read.file}: ${list}: expected ${expected}, found something else; passed over, ${key}_period counts`);
    return [];
  });
  if (first === undefined) return byPeriod;
  const contrary = (kinds: readonly Kind[]) => first.kinds.findIndex((kind, layer) => kind !== kinds[layer]);
  const layer = second ? contrary(second.kinds) : -1;
  if (layer >= 0)
    read.fail(second.list, `what ${first.list} says of layer ${layer}, ${JSON.stringify((read.value(first.list) as unknown[])[layer])}`);
  const at = hasPeriod ? contrary(byPeriod) : -1;
  if (at >= 0)
    warn(
      `${read.file}: ${first.list} makes layer ${at} a layer of ${first.kinds[at]}, ${key}_period and ${key}_offset one of ${byPeriod[at]}; the list counts, take out what is wrong`,
    );
  return first.kinds;
}

function kindsOf<Kind>(list: unknown, meanings: Readonly<Record<string, Kind>>, nLayers: number): Kind[] | undefined {
  if (!Array.isArray(list) || list.length !== nLayers) return undefined;
  const isMeant = (entry: unknown) => ["string", "number"].includes(typeof entry) && Object.hasOwn(meanings, entry as string);
  const kinds = list.filter(isMeant).map((entry: string) => meanings[entry]);
  return kinds.length === nLayers ? kinds : undefined;
}
