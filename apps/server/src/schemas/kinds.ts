// Unions of objects of which each says by its `type` what it is. Only those that are of a value's type are tried: of each that is not, zod makes an
// error, which takes ten times as long as all else.

import { z } from "zod";

type Payload = z.core.ParsePayload;

const Kinds = z.core.$constructor<z.ZodUnion, z.core.$ZodUnionDef>("Kinds", (inst, def) => {
  z.ZodUnion.init(inst, def);
  const { parse } = inst._zod;
  inst._zod.parse = (payload, ctx) => {
    const type = (payload.value as { type?: z.core.util.Primitive } | null | undefined)?.type;
    const fitting = def.options.filter(({ _zod: { propValues } }) => propValues?.type?.has(type) ?? true);
    const tryFrom = (i: number): Payload | Promise<Payload> => {
      // None of them: in its own words.
      if (i === fitting.length) return parse(payload, ctx);
      const result = fitting[i]._zod.run({ value: payload.value, issues: [] }, ctx);
      const orNext = (found: Payload) => (found.issues.length === 0 ? found : tryFrom(i + 1));
      return result instanceof Promise ? result.then(orNext) : orNext(result);
    };
    return tryFrom(0);
  };
});

/** As z.union, in the order in which they are tried. */
export function kinds<const T extends readonly z.ZodType[]>(options: T): z.ZodUnion<T> {
  return new Kinds({ type: "union", options }) as unknown as z.ZodUnion<T>;
}
