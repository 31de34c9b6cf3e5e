// The content of an answer in Anthropic's shape: puts pieces together to blocks, and tells what happens to them on the way.

import type { AnswerPiece } from "jamba";

type Block =
  | { readonly type: "text"; text: string }
  | { readonly type: "thinking"; thinking: string; signature: string }
  | { readonly type: "tool_use"; readonly id: string; readonly name: string; input: object };

/** Clients give thoughts back only with a signature. Nothing here needs one. */
const signature = "unsigned";

export class MessageBlocks {
  readonly content: Block[] = [];
  readonly #tell: (type: string, fields: object) => void;
  readonly #withThoughts: boolean;
  /** Index of the call that is being written. */
  #call = -1;
  /** What is written of its arguments. */
  #json = "";
  #isOpen = false;

  constructor(withThoughts: boolean, tell: (type: string, fields: object) => void = () => undefined) {
    this.#withThoughts = withThoughts;
    this.#tell = tell;
  }

  push(piece: AnswerPiece): void {
    if ("text" in piece) {
      const block = this.#blockOf("text", () => ({ type: "text", text: "" }));
      block.text += piece.text;
      this.#delta({ type: "text_delta", text: piece.text });
    } else if ("toolCall" in piece) this.#pushCall(piece.toolCall);
    else if (this.#withThoughts) {
      const block = this.#blockOf("thinking", () => ({ type: "thinking", thinking: "", signature: "" }));
      block.thinking += piece.reasoning;
      this.#delta({ type: "thinking_delta", thinking: piece.reasoning });
    }
  }

  /** Ends the last block. */
  end(): void {
    const block = this.content.at(-1);
    if (!block || !this.#isOpen) return;
    this.#isOpen = false;
    if (block.type === "thinking") {
      block.signature = signature;
      this.#delta({ type: "signature_delta", signature });
    }
    if (block.type === "tool_use") block.input = readObject(this.#json);
    this.#tell("content_block_stop", { index: this.content.length - 1 });
  }

  #pushCall({ index, id = "", name = "", argumentsDelta }: Extract<AnswerPiece, { readonly toolCall: unknown }>["toolCall"]): void {
    if (index !== this.#call) {
      this.#call = index;
      this.#begin({ type: "tool_use", id, name, input: {} });
      this.#json = "";
    }
    this.#json += argumentsDelta;
    if (argumentsDelta !== "") this.#delta({ type: "input_json_delta", partial_json: argumentsDelta });
  }

  #blockOf<T extends Block["type"]>(type: T, make: () => Extract<Block, { type: T }>): Extract<Block, { type: T }> {
    if (!this.#isOpen || this.content.at(-1)?.type !== type) this.#begin(make());
    return this.content.at(-1) as Extract<Block, { type: T }>;
  }

  #begin(block: Block): void {
    this.end();
    this.content.push(block);
    this.#isOpen = true;
    this.#tell("content_block_start", { index: this.content.length - 1, content_block: { ...block } });
  }

  #delta(delta: object): void {
    this.#tell("content_block_delta", { index: this.content.length - 1, delta });
  }
}

/** The object that `json` is, or of one that was cut short what is whole, with the text that it breaks off in. */
export function readObject(json: string): object {
  const closers: string[] = [];
  let isText = false;
  /** Where it could end, and what would close it there. */
  let [whole, closing] = [0, ""];
  for (let at = 0; at < json.length; at++) {
    const char = json[at];
    if (isText) {
      if (char === "\\") at++;
      else if (char === '"') isText = false;
    } else if (char === '"') isText = true;
    else if (char === "{" || char === "[") {
      closers.unshift(char === "{" ? "}" : "]");
      [whole, closing] = [at + 1, closers.join("")];
    } else if (char === "}" || char === "]") {
      closers.shift();
      [whole, closing] = [at + 1, closers.join("")];
    } else if (char === ",") [whole, closing] = [at, closers.join("")];
  }
  const rest = closers.join("");
  for (const tried of [json, `${json}${isText ? '"' : ""}${rest}`, json.slice(0, whole) + closing]) {
    try {
      const value: unknown = JSON.parse(tried);
      if (typeof value === "object" && value !== null && !Array.isArray(value)) return value;
    } catch {
      // The next one is shorter.
    }
  }
  return {};
}
