// Conversations to text on a thread that others wait for.

import { inSlices } from "@jamba/core";
import { builtIn, type ChatOptions, expectOptions, renderChat, renderWithin } from "./chat.ts";
import { isPlain, isShort } from "./extent.ts";
import { OutOfSteps } from "./jinja/budget.ts";
import type { Message } from "./messages.ts";
import { NoWorkers, renderOnWorker } from "./render-thread.ts";

/**
 * What `renderChat` gives, and nobody waits for long: on a worker where it is more than some milliseconds' work. Where none can be had, or the variables
 * have what can't be sent to one (functions), it is done in place, with a warning on the console in the first case.
 * @throws as `renderChat`, the signal's reason; TokenizerError where the worker ends
 */
export async function renderChatAsync(
  messages: readonly Message[],
  options: ChatOptions = {},
  { signal }: { readonly signal?: AbortSignal } = {},
): Promise<string> {
  const quick = renderQuickly(messages, options);
  if (quick !== undefined) return quick;
  expectOptions(options);
  const given = { ...options, ...(options.template === undefined && builtIn(options)), tokenizer: undefined };
  if (!(await inSlices(isPlain([messages, given]), signal))) return renderChat(messages, given);
  try {
    return await renderOnWorker(messages, given, signal);
  } catch (error) {
    if (!(error instanceof NoWorkers)) throw error;
    warnOnce(error);
    return renderChat(messages, given);
  }
}

/** @returns undefined for what may take longer than others should wait. @throws as `renderChat` */
export function renderQuickly(messages: readonly Message[], options: ChatOptions = {}): string | undefined {
  const { template: _, tokenizer: __, ...sent } = options;
  if (!isShort([messages, sent])) return undefined;
  try {
    return renderWithin(quickSteps, messages, options);
  } catch (error) {
    if (error instanceof OutOfSteps) return undefined;
    throw error;
  }
}

/** Some 10 ms at worst on a slow machine, and most chats. */
const quickSteps = 2 ** 18;

let hasWarned = false;
function warnOnce({ message }: Error): void {
  // biome-ignore lint/suspicious/noConsole: nobody else hears of it, and the page's policy is what to change
  if (!hasWarned) console.warn(`jamba: long chats are rendered on this thread, as no worker can be had: ${message}`);
  hasWarned = true;
}
