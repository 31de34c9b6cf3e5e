// What the server and its model are, and how they fare: /health, /v1/models, /props, /metrics.

import { z } from "zod";
import type { Route } from "../route.ts";
import { healthAnswer, modelAnswer, modelsAnswer, propsAnswer } from "../schemas/answers.ts";
import type { Service } from "../service.ts";

export const statusRoutes: readonly Route[] = [
  {
    method: "get",
    paths: ["/health", "/v1/health"],
    isOpen: true,
    summary: "Whether the model is there; needs no key",
    returns: '{ "status": "ok" }, or 503 while the model loads',
    answer: healthAnswer,
    handle({ service, c }) {
      void service.model; // throws what is the matter, if it is not there
      return c.json({ status: "ok" });
    },
  },
  {
    method: "get",
    paths: ["/v1/models", "/models"],
    summary: "The model that is served",
    returns: "A list of one",
    answer: modelsAnswer,
    handle: ({ service, c }) => c.json({ object: "list", data: [modelOf(service)] }),
  },
  {
    method: "get",
    // Ids of the hub have a slash.
    paths: ["/v1/models/:id{.+}", "/models/:id{.+}"],
    id: z.string().min(1),
    summary: "The model of an id",
    returns: "A model",
    answer: modelAnswer,
    handle({ service, c }) {
      service.expectModel(c.req.param("id"));
      return c.json(modelOf(service));
    },
  },
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
        total_slots: slots?.all.length ?? 0,
        model_path: name,
        model_alias: service.id,
        chat_template: tokenizer.chatTemplate ?? null,
        bos_token: tokenOf(tokenizer.bosId),
        eos_token: tokenOf(tokenizer.eosId),
        modalities: { vision: false, audio: false },
        device: { kind: device.kind, name: device.name, passedOver: device.passedOver?.slice() },
        dtypes,
      });
    },
  },
  {
    method: "get",
    paths: ["/metrics"],
    summary: "Counts and times for Prometheus",
    returns: "Prometheus' text format",
    async handle({ service, c }) {
      const { registry } = service.metrics;
      return c.text(await registry.metrics(), 200, { "content-type": registry.contentType });
    },
  },
];

function modelOf({ id, created, model }: Service) {
  const { config, contextLength } = model;
  return {
    id,
    object: "model",
    created,
    owned_by: "jamba",
    meta: {
      n_ctx: contextLength,
      n_ctx_train: config.contextLength,
      n_vocab: config.vocabSize,
      n_embd: config.dModel,
      size: model.memory().weightBytes,
    },
  };
}
