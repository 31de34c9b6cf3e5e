// Clients of a server: autocannon, with bodies that all differ, and a look at what each answer tells of its length.

import autocannon from "autocannon";

export interface Load {
  readonly url: string;
  /** By client: the bodies that it sends, one after another. */
  readonly bodies: readonly (readonly string[])[];
  /** What each answer must tell first of its usage. */
  readonly usage: { readonly prompt_tokens: number; readonly completion_tokens: number };
}

export interface Served {
  /** From the first request to the last answer. */
  readonly seconds: number;
  readonly answers: number;
  readonly latencyMs: { readonly p50: number; readonly p97_5: number; readonly p99: number };
  /** Lost connections, answers that came too late, that were errors, or of another length. */
  readonly errors: number;
}

export async function run({ url, bodies, usage }: Load): Promise<Served> {
  const clients = bodies.values();
  const told = JSON.stringify(usage).slice(0, -1);
  const start = performance.now();
  let end = start;
  let answers = 0;
  const { latency, errors, non2xx, mismatches } = await autocannon({
    url,
    method: "POST",
    headers: { "content-type": "application/json" },
    connections: bodies.length,
    amount: bodies.flat().length,
    sampleInt: 100, // milliseconds: it looks that often whether all is done
    timeout: 600, // seconds: on a large model some take a minute
    setupClient: (client) => client.setRequests(clients.next().value!.map((body) => ({ body }))),
    verifyBody(body) {
      end = performance.now();
      answers++;
      return String(body).includes(told); // not parsed: it may be anything
    },
  });
  const { p50, p97_5, p99 } = latency;
  return { seconds: (end - start) / 1000, answers, latencyMs: { p50, p97_5, p99 }, errors: errors + non2xx + mismatches };
}
