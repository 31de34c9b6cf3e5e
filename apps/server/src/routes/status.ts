// What the server and its models are, and how they fare: /health, /v1/models, /props, /metrics.

import type { JambaModel } from "jamba";
import { z } from "zod";
import { type Route, withoutModel } from "../route.ts";
import { healthAnswer, modelAnswer, modelsAnswer, propsAnswer } from "../schemas/answers.ts";
import type { Service } from "../service.ts";
import type { Services } from "../services.ts";

export const statusRoutes: readonly Route[] = [
  withoutModel({
    method: "get",
    paths: ["/health", "/v1/health"],
    isOpen: true,
    summary: "Whether the server can answer; needs no key",
    returns: '{ "status": "ok" }, or 503 until the first model was loaded',
    answer: healthAnswer,
    handle({ services, c }) {
      services.expectReady();
      return c.json({ status: "ok" });
    },
  }),
  withoutModel({
    method: "get",
    paths: ["/v1/models", "/models"],
    summary: "The models that are served, and which of them are there",
    returns: "A list",
    answer: modelsAnswer,
    handle: ({ services, c }) =>
      c.json({ object: "list", data: services.all.map((service) => modelOf(services, service)), has_more: false }),
  }),
  withoutModel({
    method: "get",
    // Ids of the hub have a slash.
    paths: ["/v1/models/:id{.+}", "/models/:id{.+}"],
    id: z.string().min(1),
    summary: "The model of an id",
    returns: "A model",
    answer: modelAnswer,
    handle: ({ services, c }) => c.json(modelOf(services, services.find(c.req.param("id")))),
  }),
  {
    method: "get",
    paths: ["/props"],
    summary: "What the model is and what holds where a request says nothing",
    returns: "Properties",
    answer: propsAnswer,
    handle({ service, c }) {
      const { model, slots, name } = service;
      const { tokenizer, contextLength, device, dtypes } = model;
      const tokenOf = (id: number | undefined) => (id === undefined ? null : (tokenizer.tokenOf(id) ?? null));
      return c.json({
        default_generation_settings: { n_ctx: contextLength, params: service.defaults },
        total_slots: slots ? service.options.slots : 0,
        model_path: name,
        model_alias: service.id,
        chat_template: tokenizer.chatTemplate ?? null,
        bos_token: tokenOf(tokenizer.bosId),
        eos_token: tokenOf(tokenizer.eosId),
        modalities: { vision: false, audio: false },
        device: { kind: device.kind, name: device.name, passedOver: device.passedOver?.slice(), notTried: device.notTried?.slice() },
        dtypes,
      });
    },
  },
  withoutModel({
    method: "get",
    paths: ["/metrics"],
    summary: "Counts and times for Prometheus",
    returns: "Prometheus' text format",
    async handle({ services, c }) {
      const { registry } = services.metrics;
      return c.text(await registry.metrics(), 200, { "content-type": registry.contentType });
    },
  }),
];

/** OpenAI's fields, whether the model is there, and what is known of it while it is. */
function modelOf(services: Services, service: Service) {
  const { id, created, loaded } = service;
  const anthropic = { type: "model", display_name: id, created_at: new Date(created * 1000).toISOString() };
  return {
    id,
    object: "model",
    created,
    owned_by: "jamba",
    ...anthropic,
    ...services.stateOf(service),
    ...(loaded && { meta: metaOf(loaded) }),
  };
}

function metaOf(model: JambaModel) {
  const { config, contextLength } = model;
  return {
    n_ctx: contextLength,
    n_ctx_train: config.contextLength,
    n_vocab: config.vocabSize,
    n_embd: config.dModel,
    size: model.memory().weightBytes,
  };
}
