import { afterAll, beforeEach } from "vitest";
import { type Hub, startHub } from "./hub-server.ts";

/** A hub for the tests of the file that calls it, empty before each of them. */
export async function hubForTests(): Promise<Hub> {
  const hub = await startHub();
  beforeEach(() => hub.reset());
  afterAll(() => hub.close());
  return hub;
}
