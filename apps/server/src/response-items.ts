// The output of a response: puts an answer's pieces together to items, and tells what happens to them on the way.

import type { AnswerPiece } from "jamba";
import { newId } from "./service.ts";

interface TextPart {
  readonly type: "output_text" | "reasoning_text";
  text: string;
  readonly annotations?: readonly [];
  readonly logprobs?: readonly [];
}

interface TextItem {
  readonly id: string;
  readonly type: "message" | "reasoning";
  readonly role?: "assistant";
  status: string;
  readonly summary?: readonly [];
  readonly content: TextPart[];
}

interface CallItem {
  readonly id: string;
  readonly type: "function_call";
  status: string;
  readonly call_id: string;
  readonly name: string;
  arguments: string;
}

export type ResponseItem = TextItem | CallItem;

export class ResponseItems {
  readonly output: ResponseItem[] = [];
  readonly #tell: (type: string, fields: object) => void;
  /** Index of the call that is being written. */
  #call = -1;

  constructor(tell: (type: string, fields: object) => void = () => undefined) {
    this.#tell = tell;
  }

  push(piece: AnswerPiece): void {
    if ("text" in piece) this.#pushText("message", piece.text);
    else if ("reasoning" in piece) this.#pushText("reasoning", piece.reasoning);
    else this.#pushCall(piece.toolCall);
  }

  /** Ends the last item. */
  end(status: "completed" | "incomplete" = "completed"): void {
    const item = this.output.at(-1);
    if (item?.status !== "in_progress") return;
    item.status = status;
    const place = this.#placeOf(item);
    if (item.type === "function_call")
      this.#tell("response.function_call_arguments.done", { ...place, name: item.name, arguments: item.arguments });
    else {
      const [part] = item.content;
      this.#tell(`response.${part.type}.done`, { ...place, content_index: 0, text: part.text, logprobs: part.logprobs });
      this.#tell("response.content_part.done", { ...place, content_index: 0, part });
    }
    this.#tell("response.output_item.done", { output_index: place.output_index, item });
  }

  #pushCall({
    index,
    id: callId = "",
    name = "",
    argumentsDelta: delta,
  }: Extract<AnswerPiece, { readonly toolCall: unknown }>["toolCall"]): void {
    if (index !== this.#call) {
      this.#call = index;
      const id = newId("fc_");
      this.#begin({ id, type: "function_call", status: "in_progress", call_id: callId, name, arguments: "" });
    }
    const item = this.output.at(-1) as CallItem;
    item.arguments += delta;
    if (delta !== "") this.#tell("response.function_call_arguments.delta", { ...this.#placeOf(item), delta });
  }

  #pushText(type: TextItem["type"], delta: string): void {
    if (this.output.at(-1)?.type !== type) {
      if (type === "message") this.#begin({ id: newId("msg_"), type, role: "assistant", status: "in_progress", content: [] });
      else this.#begin({ id: newId("rs_"), type, status: "in_progress", summary: [], content: [] });
      const part: TextPart =
        type === "message" ? { type: "output_text", text: "", annotations: [], logprobs: [] } : { type: "reasoning_text", text: "" };
      const item = this.output.at(-1) as TextItem;
      item.content.push(part);
      this.#tell("response.content_part.added", { ...this.#placeOf(item), content_index: 0, part });
    }
    const item = this.output.at(-1) as TextItem;
    const [part] = item.content;
    part.text += delta;
    this.#tell(`response.${part.type}.delta`, { ...this.#placeOf(item), content_index: 0, delta, logprobs: part.logprobs });
  }

  #begin(item: ResponseItem): void {
    this.end();
    this.output.push(item);
    this.#tell("response.output_item.added", { output_index: this.output.length - 1, item });
  }

  #placeOf(item: ResponseItem) {
    return { item_id: item.id, output_index: this.output.length - 1 };
  }
}
