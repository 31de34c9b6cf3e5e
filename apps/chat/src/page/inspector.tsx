import { useChat } from "@ai-sdk/react";
import { X } from "lucide-preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Live } from "../channel/service.ts";
import type { Client } from "./client.ts";
import { bytes, count } from "./format.ts";
import type { OpenConversation } from "./open-conversation.ts";
import { TreePicture } from "./tree-picture.tsx";
import { useStore } from "./use-store.ts";

/** What happens below: speed, memory, context, what was read, and the device with its reasons. */
export function Inspector({ client, conversation, onClose }: { client: Client; conversation: OpenConversation; onClose(): void }) {
  const { ready, name } = useStore(client.model);
  const { answers, memory, states } = useStore(client.live);
  const { id } = useStore(conversation.tree);
  const { messages } = useChat({ chat: conversation.chat, experimental_throttle: 500 });
  const live = answers.find(({ chatId }) => chatId === id);
  const last = messages.findLast(({ role }) => role === "assistant")?.metadata;
  const speeds = useSpeeds(live?.tokensPerSecond);
  const speed = live?.tokensPerSecond ?? last?.timings?.tokensPerSecond;
  const used = live ? live.promptTokens + live.tokens : (last?.usage.totalTokens ?? 0);
  const [kept, read] = live
    ? [live.cachedTokens, live.promptTokens - live.cachedTokens]
    : [last?.usage.inputTokenDetails.cacheReadTokens ?? 0, last?.usage.inputTokenDetails.noCacheTokens ?? 0];
  return (
    <aside class="inspector" aria-label="Under the hood">
      <header class="row">
        <h2>Under the hood</h2>
        <span class="grow" />
        <button type="button" class="icon-button" aria-label="Close" onClick={onClose}>
          <X size={18} />
        </button>
      </header>
      <section>
        <h3>
          Speed <output>{speed ? `${count(Math.round(speed))} tokens/s` : "–"}</output>
        </h3>
        <Sparkline values={speeds} />
      </section>
      <section>
        <h3>
          Prompt <output>{kept + read > 0 ? `${count(read)} read, ${count(kept)} kept` : "–"}</output>
        </h3>
        <Bar
          label="Tokens of the prompt"
          parts={[
            [kept, "kept"],
            [read, "read"],
          ]}
        />
        {last?.cacheMissReason && <p class="soft">Why it was read: {last.cacheMissReason}.</p>}
      </section>
      {ready && (
        <section>
          <h3>
            Context{" "}
            <output>
              {count(used)} of {count(ready.contextLength)}
            </output>
          </h3>
          <meter aria-label="Context" value={used} max={ready.contextLength} />
        </section>
      )}
      {memory && <Memory memory={memory} states={states} />}
      <section>
        <h3>What was read</h3>
        <TreePicture client={client} />
      </section>
      {ready && (
        <section>
          <h3>{name}</h3>
          <p>
            {ready.device}, weights in {ready.dtypes.join(", ")}, there after {(ready.loadMs / 1000).toFixed(1)} s
          </p>
          <ul class="reasons">
            {[...ready.features, ...ready.warnings].map((one) => (
              <li key={one}>{one}</li>
            ))}
          </ul>
        </section>
      )}
    </aside>
  );
}

/** The last ones of this answer. */
function useSpeeds(now: number | undefined): readonly number[] {
  const all = useRef<number[]>([]);
  const [shown, setShown] = useState<readonly number[]>([]);
  useEffect(() => {
    if (now === undefined) return;
    all.current = [...all.current, now].slice(-60);
    setShown(all.current);
  }, [now]);
  return shown;
}

function Sparkline({ values }: { values: readonly number[] }) {
  if (values.length < 2) return null;
  const most = Math.max(...values, 1);
  const points = values.map((value, i) => `${(100 * i) / (values.length - 1)},${29 - (27 * value) / most}`);
  return (
    <svg class="sparkline" viewBox="0 0 100 30" preserveAspectRatio="none" aria-hidden="true">
      <polyline points={points.join(" ")} />
    </svg>
  );
}

function Bar({ label, parts }: { label: string; parts: readonly (readonly [amount: number, name: string])[] }) {
  const all = parts.reduce((sum, [amount]) => sum + amount, 0);
  if (all === 0) return null;
  return (
    <div class="bar-picture" role="img" aria-label={`${label}: ${parts.map(([amount, name]) => `${name} ${count(amount)}`).join(", ")}`}>
      {parts.flatMap(([amount, name]) => (amount === 0 ? [] : [<i key={name} class={name} style={{ flexGrow: amount / all }} />]))}
    </div>
  );
}

function Memory({ memory, states }: { memory: NonNullable<Live["memory"]>; states: Live["states"] }) {
  const { weightBytes, stateBytes, arenaBytes } = memory;
  return (
    <section>
      <h3>
        Memory <output>{bytes(weightBytes + stateBytes + arenaBytes)}</output>
      </h3>
      <Bar
        label="Bytes"
        parts={[
          [weightBytes, "weights"],
          [stateBytes, "states"],
          [arenaBytes, "work"],
        ]}
      />
      <p class="soft">
        Weights {bytes(weightBytes)}, states {bytes(stateBytes)} ({count(states.count)} kept for later), work {bytes(arenaBytes)}
      </p>
    </section>
  );
}
