// The family's published models, as the hub has them.

export interface FamilyModel {
  /** On the hub; with ":Q4_K_M" a file of a repository of GGUF files. */
  readonly id: string;
  readonly name: string;
  readonly about: string;
}

export const family: readonly FamilyModel[] = [
  {
    id: "ai21labs/AI21-Jamba-Reasoning-3B-GGUF:Q4_K_M",
    name: "Jamba Reasoning 3B, 4 bits",
    about: "Thinks before it answers. The one to begin with.",
  },
  {
    id: "ai21labs/AI21-Jamba-Reasoning-3B",
    name: "Jamba Reasoning 3B",
    about: "The same as it was published, packed when it is loaded: 6.1 GB.",
  },
  { id: "ai21labs/AI21-Jamba2-3B", name: "Jamba2 3B", about: "Answers at once: 6.1 GB." },
  { id: "ai21labs/Jamba-tiny-dev", name: "Jamba tiny dev", about: "A test model of 319 million parameters: 0.6 GB." },
  { id: "ai21labs/AI21-Jamba2-Mini", name: "Jamba2 Mini", about: "A mixture of 16 experts, 52 billion parameters: 103 GB." },
  { id: "ai21labs/AI21-Jamba-Large-1.7", name: "Jamba Large 1.7", about: "A mixture of 16 experts, 399 billion parameters: 797 GB." },
];

/** "owner/name" and, for GGUF files, which of them. */
export function parseId(id: string): { repo: string; wanted?: string } | undefined {
  const found = /^([\w.-]+\/[\w.-]+?)(?::([\w./-]+))?$/.exec(id.trim());
  return found ? { repo: found[1], ...(found[2] && { wanted: found[2] }) } : undefined;
}
