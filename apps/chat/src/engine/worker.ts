// One in each tab. The one that holds the lock owns the model and answers all tabs; the others wait for its end.

import { serve, toldError } from "../channel/calls.ts";
import { becomeOwner } from "../channel/ownership.ts";
import type { Events } from "../channel/service.ts";
import { openFiles } from "../storage/files.ts";
import { Owner } from "./owner.ts";

/** The channel is also the lock's name; `alive` is a lock that is held for as long as this worker lives. */
export interface Start {
  readonly channel: string;
  readonly alive: string;
  /** Where the page is. */
  readonly base: string;
  /** Where models come from. */
  readonly hub: string;
}

async function start({ channel, alive, ...place }: Start): Promise<void> {
  await becomeOwner(alive);
  postMessage({ alive: true });
  await becomeOwner(channel);
  const files = await openFiles();
  let told: ReturnType<typeof serve> | undefined;
  const owner = new Owner(files, (event: keyof Events, value) => told?.(event, value), place);
  told = serve(owner.service, channel);
}

addEventListener("message", ({ data }: MessageEvent<Start>) => {
  start(data).catch((error) => postMessage({ failed: toldError(error) }));
});
