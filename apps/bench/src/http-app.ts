// The HTTP application that both sides are put behind: as little as a server of chats can be.

import { Hono } from "hono";
import type { LoadedSide } from "./sides.ts";

interface Asked {
  readonly messages: readonly { readonly content: string }[];
  readonly max_tokens: number;
}

/** Answers POST /v1/chat/completions; messages are read as `chatTemplate` has them. */
export function chatApp(engine: Pick<LoadedSide, "answer">): Hono {
  const app = new Hono();
  app.post("/v1/chat/completions", async (c) => {
    const { messages, max_tokens } = await c.req.json<Asked>();
    const { text, promptTokens, newTokens } = await engine.answer(messages.map(({ content }) => content).join(""), max_tokens);
    return c.json({
      object: "chat.completion",
      choices: [{ index: 0, message: { role: "assistant", content: text }, finish_reason: "length" }],
      usage: { prompt_tokens: promptTokens, completion_tokens: newTokens },
    });
  });
  return app;
}
