import { Dialog } from "./dialog.tsx";
import type { OpenConversation } from "./open-conversation.ts";
import { type Settings, set, settings } from "./settings.ts";
import { useStore } from "./use-store.ts";

const themes: readonly Settings["theme"][] = ["system", "light", "dark"];

export function SettingsDialog({ conversation, onClose }: { conversation: OpenConversation; onClose(): void }) {
  const { theme, temperature, maxTokens, system } = useStore(settings);
  const tree = useStore(conversation.tree);
  return (
    <Dialog label="Settings" onClose={onClose}>
      <fieldset class="segments">
        <legend>Appearance</legend>
        {themes.map((one) => (
          <label key={one}>
            <input type="radio" name="theme" checked={theme === one} onChange={() => set({ theme: one })} />
            <span>{one}</span>
          </label>
        ))}
      </fieldset>
      <label class="field">
        <span>
          Temperature <output>{temperature.toFixed(1)}</output>
        </span>
        <input
          type="range"
          min="0"
          max="1.5"
          step="0.1"
          value={temperature}
          onInput={(event) => set({ temperature: Number(event.currentTarget.value) })}
        />
        <small>0 always takes the most likely word. Higher is more surprising.</small>
      </label>
      <label class="field">
        <span>
          Longest answer <output>{maxTokens} tokens</output>
        </span>
        <input
          type="range"
          min="32"
          max="4096"
          step="32"
          value={maxTokens}
          onInput={(event) => set({ maxTokens: Number(event.currentTarget.value) })}
        />
      </label>
      <label class="field">
        <span>Instructions for this conversation</span>
        <textarea
          rows={3}
          dir="auto"
          placeholder="You are a helpful assistant."
          value={tree.settings.system ?? ""}
          onInput={(event) => conversation.setSystem(event.currentTarget.value)}
        />
        <small>A change is read by the next answer, and all after it once more.</small>
      </label>
      <label class="field">
        <span>Instructions for new conversations</span>
        <textarea rows={2} dir="auto" value={system} onInput={(event) => set({ system: event.currentTarget.value })} />
      </label>
    </Dialog>
  );
}
