// What a person has set, kept by the browser where it lets a page keep anything.

import type { DeviceChoice, ModelChoice } from "../channel/service.ts";
import { Store } from "./store.ts";

export interface Settings {
  readonly theme: "system" | "light" | "dark";
  readonly temperature: number;
  readonly maxTokens: number;
  /** Whether the model may use the calculator and the clock. */
  readonly tools: boolean;
  /** What every new conversation begins with. */
  readonly system: string;
  /** What is loaded when the page is opened. */
  readonly model: Exclude<ModelChoice, { kind: "files" }>;
  readonly device: DeviceChoice;
  readonly inspector: boolean;
}

const defaults: Settings = {
  theme: "system",
  temperature: 0.7,
  maxTokens: 512,
  tools: false,
  system: "",
  model: { kind: "small" },
  device: "auto",
  inspector: false,
};
const key = "jamba-settings";

function stored(): Settings {
  try {
    return { ...defaults, ...JSON.parse(localStorage.getItem(key) ?? "{}") };
  } catch {
    return defaults;
  }
}

export const settings = new Store<Settings>(stored());

export function set(changes: Partial<Settings>): void {
  settings.value = { ...settings.value, ...changes };
  try {
    localStorage.setItem(key, JSON.stringify(settings.value));
  } catch {} // denied: it holds until the tab is closed
}
