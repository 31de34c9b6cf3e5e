// Lists and records of requests: what is wrong with the first wrong item is told, and those behind it are not looked at. zod tells of each, which
// takes seconds where there are many. Where it may wait (`safeParseAsync`), a long list lets others have their turns.

import { z } from "zod";
import { ownTurn } from "../line.ts";

type Payload = z.core.ParsePayload;

/** Milliseconds at a time. */
const sliceMs = 8;

interface ListDef<T extends z.ZodType> extends z.core.$ZodArrayDef<T> {
  /** Whether zod need not look at an item. */
  readonly isFine?: (item: unknown) => boolean;
}

const List = z.core.$constructor<z.ZodArray<z.ZodType>, ListDef<z.ZodType>>("List", (inst, def) => {
  z.ZodArray.init(inst, def);
  const { element, checks = [], isFine = () => false } = def;
  const longest = Math.min(...checks.map(({ _zod }) => (_zod.def as z.core.$ZodCheckMaxLengthDef).maximum ?? Infinity));
  const { parse } = inst._zod;
  inst._zod.parse = (payload, ctx) => {
    const items = payload.value as unknown;
    // Of what is too long no item is looked at.
    if (!Array.isArray(items) || items.length > longest) return parse(payload, ctx);
    const values: unknown[] = items.slice();
    payload.value = values;
    /** Whether it is right. */
    const settle = (i: number, { value, issues }: Payload) => {
      if (issues.length === 0) values[i] = value;
      else payload.issues.push(...z.core.util.prefixIssues(i, issues));
      return issues.length === 0;
    };
    const run = (i: number) => element._zod.run({ value: items[i], issues: [] }, ctx);
    const inSlices = async () => {
      let start = performance.now();
      for (let i = 0; i < items.length; i++) {
        if (isFine(items[i])) continue;
        const result = run(i);
        if (!settle(i, result instanceof Promise ? await result : result)) break;
        if (performance.now() - start < sliceMs) continue;
        await ownTurn();
        start = performance.now();
      }
      return payload;
    };
    if (ctx.async) return inSlices();
    for (let i = 0; i < items.length; i++) if (!isFine(items[i]) && !settle(i, run(i) as Payload)) break;
    return payload;
  };
});

/** @param isFine whether an item is right as it is, where that is quicker to say than by the schema */
export function list<T extends z.ZodType>(element: T, isFine?: (item: unknown) => boolean): z.ZodArray<T> {
  return new List({ type: "array", element, isFine }) as z.ZodArray<T>;
}

const Entries = z.core.$constructor<z.ZodRecord<z.ZodString, z.ZodType>>("Entries", (inst, def) => {
  z.ZodRecord.init(inst, def);
  const { parse } = inst._zod;
  const isWrong = ({ _zod }: z.core.$ZodType, value: unknown, ctx: z.core.ParseContextInternal) =>
    (_zod.run({ value, issues: [] }, { ...ctx, async: false }) as Payload).issues.length > 0;
  inst._zod.parse = (payload, ctx) => {
    const found = payload.value as unknown;
    const entries = z.core.util.isPlainObject(found) ? Object.entries(found) : [];
    // zod leaves this one out, whatever it is.
    const wrong = entries.find(
      ([key, value]) => key !== "__proto__" && (isWrong(def.keyType, key, ctx) || isWrong(def.valueType, value, ctx)),
    );
    if (wrong) payload.value = { [wrong[0]]: wrong[1] };
    return parse(payload, ctx);
  };
});

export function record<T extends z.ZodType>(keyType: z.ZodString, valueType: T): z.ZodRecord<z.ZodString, T> {
  return new Entries({ type: "record", keyType, valueType }) as unknown as z.ZodRecord<z.ZodString, T>;
}
