// Number formats that GGUF files may store tensors in.

import { type BlockDtype, blockFormats, type FloatDtype, floatBytes, type StoredDtype } from "@jamba/core";

export interface GgufType {
  /** ggml's own spelling. */
  readonly type: string;
  /** Undefined for what core can't decode. */
  readonly dtype?: StoredDtype;
  /** Of one block; plain numbers are blocks of one. */
  readonly values: number;
  readonly bytes: number;
}

/** ggml's numbers of types; those without a name were removed from the format. */
const typeNames: readonly (string | undefined)[] = [
  ...["F32", "F16", "Q4_0", "Q4_1", undefined, undefined, "Q5_0", "Q5_1", "Q8_0", "Q8_1"],
  ...["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q8_K", "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S"],
  ...["IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS", "I8", "I16", "I32", "I64", "F64", "IQ1_M"],
  ...["BF16", undefined, undefined, undefined, "TQ1_0", "TQ2_0", undefined, undefined, undefined, "MXFP4"],
  ...["NVFP4", "Q1_0"],
];

/** Values and bytes of a block of the types that core can't decode. */
const listedOnly: Readonly<Record<string, readonly [values: number, bytes: number]>> = {
  Q8_1: [32, 36],
  Q8_K: [256, 292],
  IQ2_XXS: [256, 66],
  IQ2_XS: [256, 74],
  IQ3_XXS: [256, 98],
  IQ1_S: [256, 50],
  IQ3_S: [256, 110],
  IQ2_S: [256, 82],
  IQ1_M: [256, 56],
  I8: [1, 1],
  I16: [1, 2],
  I32: [1, 4],
  I64: [1, 8],
  F64: [1, 8],
  TQ1_0: [256, 54],
  TQ2_0: [256, 66],
  MXFP4: [32, 17],
  NVFP4: [64, 36],
  Q1_0: [128, 18],
};

/** By ggml's number. */
export const ggufTypes: readonly (GgufType | undefined)[] = typeNames.map((type): GgufType | undefined => {
  if (type === undefined) return undefined;
  const dtype = type.toLowerCase();
  if (Object.hasOwn(floatBytes, dtype)) return { type, dtype: dtype as FloatDtype, values: 1, bytes: floatBytes[dtype as FloatDtype] };
  if (Object.hasOwn(blockFormats, dtype)) return { type, dtype: dtype as BlockDtype, ...blockFormats[dtype as BlockDtype] };
  const [values, bytes] = listedOnly[type];
  return { type, values, bytes };
});
