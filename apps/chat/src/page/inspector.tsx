import { X } from "lucide-preact";
import type { Client } from "./client.ts";
import { bytes, count } from "./format.ts";
import type { OpenConversation } from "./open-conversation.ts";
import { useStore } from "./store.ts";

/** What happens below: speed, memory, context, and the device with its reasons. */
export function Inspector({ client, conversation, onClose }: { client: Client; conversation: OpenConversation; onClose(): void }) {
  const { ready, name } = useStore(client.model);
  const { answers, memory, states } = useStore(client.live);
  const { id } = useStore(conversation.tree);
  const live = answers.find(({ chatId }) => chatId === id);
  return (
    <aside class="inspector" aria-label="Under the hood">
      <header class="row">
        <h2>Under the hood</h2>
        <span class="grow" />
        <button type="button" class="icon-button" aria-label="Close" onClick={onClose}>
          <X size={18} />
        </button>
      </header>
      <dl class="facts">
        <dt>Speed</dt>
        <dd>{live ? `${count(Math.round(live.tokensPerSecond))} tokens/s` : "–"}</dd>
        {memory && (
          <>
            <dt>Weights</dt>
            <dd>{bytes(memory.weightBytes)}</dd>
            <dt>States</dt>
            <dd>
              {bytes(memory.stateBytes)}, {count(states.count)} kept
            </dd>
          </>
        )}
      </dl>
      {ready && (
        <section>
          <h3>{name}</h3>
          <p>{ready.device}</p>
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
