// The OpenAPI document, made from the routes and their schemas.

import type { JambaModel } from "jamba";
import { z } from "zod";
import { isAnthropic } from "./errors.ts";
import { pathOf, type Route } from "./route.ts";
import { routes } from "./routes.ts";
import { byServer } from "./schemas/fields.ts";
import type { AppOptions } from "./service.ts";

/** By whom: what it refuses is not documented. */
export interface Served {
  readonly options?: Pick<AppOptions, "apiKeys" | "allowGrammars" | "slotsDir" | "slots" | "maxChoices">;
  readonly model?: JambaModel;
}

type Json = Record<string, unknown>;

const error = jsonSchema(
  z.object({
    error: z.object({ message: z.string(), type: z.string(), param: z.string().nullable(), code: z.string().nullable() }),
  }),
);

const anthropicError = jsonSchema(
  z.object({ type: z.literal("error"), error: z.object({ type: z.string(), message: z.string() }), request_id: z.string() }),
);

/** OpenAPI 3.1, whose schemas are JSON Schema 2020-12. */
export function openApiDocument(served: Served = {}) {
  const { options } = served;
  const listed = routes.filter(({ needsSlots }) => !needsSlots || options?.slotsDir !== undefined);
  const paths: Record<string, Json> = {};
  for (const route of listed)
    for (const path of route.paths) paths[pathOf(path)] = { ...paths[pathOf(path)], [route.method]: operationOf(route, path, served) };
  return {
    openapi: "3.1.0",
    info: {
      title: "jamba",
      version: "1",
      description:
        "OpenAI's and Anthropic's APIs for a Jamba model, with llama.cpp's extensions. Unknown fields are ignored; null is as good as absent.",
    },
    components: {
      securitySchemes: { key: { type: "http", scheme: "bearer" } },
      responses: {
        Error: { description: "What is wrong", content: { "application/json": { schema: error } } },
        AnthropicError: { description: "What is wrong", content: { "application/json": { schema: anthropicError } } },
      },
    },
    security: options?.apiKeys?.length ? [{ key: [] }] : [],
    paths: {
      ...paths,
      "/openapi.json": { get: { summary: "This document", responses: responsesOf("An OpenAPI document", { type: "object" }) } },
    },
  };
}

function operationOf(route: Route, path: string, served: Served) {
  const { method, summary, id, request, query, returns, answer, streams, paths, isOpen, needsNoModel } = route;
  const parameters = [
    ...[...path.matchAll(/:(\w+)/g)].map(([, name]) => ({ name, in: "path", required: true, schema: id && jsonSchema(id) })),
    ...Object.entries(query ?? {}).map(([name, values]) => ({
      name,
      in: "query",
      required: true,
      schema: { type: "string", enum: values },
    })),
    // Requests with a body have it there.
    ...(method === "get" && !needsNoModel ? [{ name: "model", in: "query", required: false, schema: { type: "string" } }] : []),
  ];
  const schema = request && jsonSchema(request, served);
  return {
    summary,
    ...(path !== paths[0] && { description: `The same as ${pathOf(paths[0])}.` }),
    ...(isOpen && { security: [] }),
    ...(parameters.length > 0 && { parameters }),
    ...(schema && { requestBody: { required: !query, content: { "application/json": { schema } } } }),
    responses: responsesOf(returns, answer && jsonSchema(answer), { streams, error: isAnthropic(path) ? "AnthropicError" : "Error" }),
  };
}

/** @param answer text, if not given */
function responsesOf(description: string, answer: Json | undefined, { streams = false, error = "Error" } = {}) {
  const content = answer ? { "application/json": { schema: answer } } : { "text/plain": { schema: { type: "string" } } };
  return {
    200: { description, content: { ...content, ...(streams && { "text/event-stream": {} }) } },
    default: { $ref: `#/components/responses/${error}` },
  };
}

/** Answers may have more fields than these, and requests too. */
function jsonSchema(schema: z.ZodType, { options = {}, model }: Served = {}): Json {
  const { allowGrammars, slotsDir, slots = 4, maxChoices = 128 } = options;
  const more = new Map<unknown, Json>([
    [byServer.grammar, allowGrammars ? {} : { not: {} }],
    [byServer.choices, { maximum: maxChoices }],
    [byServer.slot, slotsDir === undefined ? {} : { maximum: slots - 1 }],
    [byServer.tokenId, model ? { maximum: model.config.vocabSize - 1 } : {}],
    [byServer.dimensions, model ? { const: model.config.dModel } : {}],
  ]);
  const { $schema, ...rest } = z.toJSONSchema(schema, {
    io: "input",
    override: ({ zodSchema, jsonSchema: found }) => void Object.assign(found, more.get(zodSchema)),
  });
  return rest;
}
