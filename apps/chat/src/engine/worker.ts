// One in each tab. The one that holds the lock owns the model and answers all tabs; the others wait for its end.

import { serve, toldError } from "../channel/calls.ts";
import { becomeOwner } from "../channel/ownership.ts";
import type { Events } from "../channel/service.ts";
import { openFiles } from "../storage/files.ts";
import { type LoadRequest, Owner } from "./owner.ts";

/** The channel is also the lock's name; `alive` is a lock that is held for as long as this worker lives. */
export interface Start extends First {
  readonly channel: string;
  readonly alive: string;
  /** Where the page is. */
  readonly base: string;
  /** Where models come from. */
  readonly hub: string;
}

/** What this worker's tab chose last, with its start and whenever it chooses: loaded should this worker come to own the model. */
export interface First {
  readonly first: LoadRequest;
}

let first: LoadRequest;

async function start({ channel, alive, ...place }: Start): Promise<void> {
  await becomeOwner(alive);
  postMessage({ alive: true });
  await becomeOwner(channel);
  // The largest part of the code, while the files are opened.
  void import("./jamba.ts").catch(() => undefined); // said when it is needed
  const files = await openFiles();
  let told: ReturnType<typeof serve> | undefined;
  const owner = new Owner(files, (event: keyof Events, value) => told?.(event, value), place);
  told = serve(owner.service, channel);
  void owner.service.load(first); // how far it is and why it fails is its status
}

addEventListener("message", ({ data }: MessageEvent<Start | First>) => {
  first = data.first;
  if ("channel" in data) start(data).catch((error) => postMessage({ failed: toldError(error) }));
});
