// What tests ask a server with, and how they read what it answers.

// biome-ignore lint/suspicious/noExplicitAny: answers are looked into field by field
export type Json = any;

/** For `fetch` and for an application's `request`. @param body a text is sent as it is */
export function posted(body: unknown, headers: Readonly<Record<string, string>> = {}): RequestInit {
  return {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: typeof body === "string" ? body : JSON.stringify(body),
  };
}

/** Of a stream; signs of life and the end are none. */
export function eventsOf(text: string): Json[] {
  return [...text.matchAll(/^data: (\{.*)$/gm)].map(([, event]) => JSON.parse(event));
}

/** The small model calls it where it is asked to call somebody. */
export const friendFunction = {
  name: "call_friend",
  description: "Call a friend",
  parameters: { type: "object" as const, properties: { name: { type: "string" } }, required: ["name"] },
};
