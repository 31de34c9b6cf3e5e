// /slots: conversations that requests name with `id_slot`, saved to files and brought back.

import { z } from "zod";
import { ApiError, badRequest } from "../errors.ts";
import { type Route, withBody } from "../route.ts";
import { slotAnswer, slotsAnswer } from "../schemas/answers.ts";
import { slotFile } from "../schemas/requests.ts";
import type { Service } from "../service.ts";
import type { Slots } from "../slots.ts";

const actions = ["save", "restore", "erase"];

export const slotRoutes: readonly Route[] = [
  {
    method: "get",
    paths: ["/slots"],
    needsSlots: true,
    summary: "All slots",
    returns: "For each slot how many tokens its state has read",
    answer: slotsAnswer,
    handle({ service, exchange, c }) {
      const { contextLength } = service.model;
      return c.json(
        slotsOf(service)
          .of(exchange.tenant)
          .map(({ tokens }, id) => ({ id, n_ctx: contextLength, n_tokens: tokens })),
      );
    },
  },
  withBody({
    method: "post",
    paths: ["/slots/:id"],
    needsSlots: true,
    id: z.int().min(0),
    summary: "Saves a slot's conversation to a file, brings one back, or forgets it",
    request: slotFile,
    query: { action: actions },
    returns: "What was done",
    answer: slotAnswer,
    async handle({ service, body, exchange, c }) {
      const slots = slotsOf(service);
      const { tenant } = exchange;
      const own = slots.of(tenant);
      const { model } = service;
      const given = c.req.param("id") ?? "";
      const id = /^\d{1,4}$/.test(given) ? Number(given) : -1;
      const slot = own[id];
      if (!slot) throw new ApiError(404, `id: expected a slot in [0, ${own.length - 1}], found another`, { param: "id" });
      const action = c.req.query("action");
      const start = performance.now();
      if (action === "erase") {
        const erased = slot.tokens;
        await slot.erase();
        return c.json({ id_slot: id, n_erased: erased });
      }
      if (action !== "save" && action !== "restore") throw badRequest("action", `expected one of ${actions.join(", ")}`);
      const { filename = `slot-${id}` } = body;
      const bytes = action === "save" ? await slots.save(id, filename, tenant) : await slots.restore(id, model, filename, tenant);
      const ms = performance.now() - start;
      return c.json(
        action === "save"
          ? { id_slot: id, filename, n_saved: slot.tokens, n_written: bytes, timings: { save_ms: ms } }
          : { id_slot: id, filename, n_restored: slot.tokens, n_read: bytes, timings: { restore_ms: ms } },
      );
    },
  }),
];

function slotsOf({ slots }: Service): Slots {
  if (slots) return slots;
  throw new ApiError(404, "This server has no slots. Start it with a folder for them (slotsDir).", { code: "no_slots" });
}
