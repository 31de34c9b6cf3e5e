// Where references of a schema lead: JSON pointers, `$id`, `$anchor`, and the draft-4 `id`. Other documents are never fetched.

import { isList, isObject, type Json, type JsonObject, schemaListWords, schemaMapWords, schemaWords } from "./words.ts";

interface Resource {
  readonly uri: string;
  readonly root: Json;
  readonly path: string;
}

interface Place {
  readonly resource: Resource;
  readonly path: string;
}

export interface Target {
  readonly schema: Json;
  readonly path: string;
}

/** No document has this address, so that nothing can refer to it by mistake. */
const nowhere = "schema://nowhere/";

export class SchemaDocument {
  readonly #root: Resource;
  readonly #resources = new Map<string, Resource>();
  /** By address with fragment. */
  readonly #anchors = new Map<string, Target>();
  readonly #dynamic = new Map<string, Target[]>();
  readonly #places = new Map<JsonObject, Place>();

  readonly #isOld: boolean;

  constructor(root: Json, name: string) {
    this.#isOld = isObject(root) && typeof root.$schema === "string" && /\/draft-0[3-7]\//.test(root.$schema);
    this.#root = { uri: nowhere, root, path: name };
    this.#resources.set(nowhere, this.#root);
    this.#index(root, { resource: this.#root, path: name });
  }

  pathOf(schema: JsonObject): string {
    return this.#places.get(schema)?.path ?? this.#root.path;
  }

  /** @returns undefined for what is not in this document */
  resolve(reference: string, from: JsonObject): Target | undefined {
    const resource = this.#places.get(from)?.resource ?? this.#root;
    const address = absolute(reference, resource.uri);
    if (address === undefined) return undefined;
    const [uri, fragment] = split(address);
    const home = this.#resources.get(uri) ?? this.#resources.get(uri.replace(/#$/, ""));
    if (fragment !== "" && !fragment.startsWith("/")) return this.#anchors.get(`${uri}#${fragment}`);
    const found = home && this.#follow(home, fragment);
    // A pointer that is right for the whole document, in a part that has an address of its own: what most authors mean.
    return found ?? (reference.startsWith("#") ? this.#follow(this.#root, fragment) : undefined);
  }

  /** The one place that a dynamic anchor can mean; undefined where there are several. */
  resolveDynamic(anchor: string): Target | undefined {
    const found = this.#dynamic.get(anchor);
    return found?.length === 1 ? found[0] : undefined;
  }

  isDynamic(anchor: string): boolean {
    return this.#dynamic.has(anchor);
  }

  #follow(resource: Resource, pointer: string): Target | undefined {
    let schema: Json | undefined = resource.root;
    let path = resource.path;
    let owner: Resource = resource;
    for (const part of pointer === "" || pointer === "/" ? [] : pointer.slice(1).split("/")) {
      const key = decodePart(part);
      if (isList(schema)) {
        schema = /^[0-9]+$/.test(key) ? schema[Number(key)] : undefined;
        path = `${path}[${key}]`;
      } else if (isObject(schema) && Object.hasOwn(schema, key)) {
        schema = schema[key];
        path = `${path}.${key}`;
      } else return undefined;
      if (isObject(schema)) owner = this.#places.get(schema)?.resource ?? owner;
    }
    if (schema === undefined) return undefined;
    // A part that no keyword makes a schema, until a reference says so.
    if (isObject(schema) && !this.#places.has(schema)) this.#index(schema, { resource: owner, path });
    return { schema, path };
  }

  #index(schema: Json, place: Place): void {
    if (!isObject(schema) || this.#places.has(schema)) return;
    const here = { resource: this.#identify(schema, place), path: place.path };
    this.#places.set(schema, here);
    for (const [word, value] of Object.entries(schema)) {
      const path = `${place.path}.${word}`;
      if (schemaMapWords.has(word) && isObject(value))
        for (const [key, inner] of Object.entries(value)) this.#index(inner, { resource: here.resource, path: `${path}.${key}` });
      else if (isList(value) && schemaListWords.has(word))
        value.forEach((inner, i) => {
          this.#index(inner, { resource: here.resource, path: `${path}[${i}]` });
        });
      else if (schemaWords.has(word)) this.#index(value, { resource: here.resource, path });
    }
  }

  #identify(schema: JsonObject, { resource, path }: Place): Resource {
    let home = resource;
    // Up to draft 7 a reference is all that counts beside it.
    if (this.#isOld && typeof schema.$ref === "string") return home;
    for (const id of [schema.$id, schema.id]) {
      if (typeof id !== "string") continue;
      const address = absolute(id, resource.uri);
      if (address === undefined) continue;
      const [uri, fragment] = split(address);
      if (fragment !== "") this.#anchors.set(`${uri}#${fragment}`, { schema, path });
      if (uri === resource.uri || this.#resources.has(uri)) continue;
      home = { uri, root: schema, path };
      this.#resources.set(uri, home);
      if (schema === this.#root.root) this.#resources.set(nowhere, home);
    }
    if (typeof schema.$anchor === "string") this.#anchors.set(`${home.uri}#${schema.$anchor}`, { schema, path });
    if (typeof schema.$dynamicAnchor === "string") {
      this.#anchors.set(`${home.uri}#${schema.$dynamicAnchor}`, { schema, path });
      this.#dynamic.set(schema.$dynamicAnchor, [...(this.#dynamic.get(schema.$dynamicAnchor) ?? []), { schema, path }]);
    }
    return home;
  }
}

function absolute(reference: string, base: string): string | undefined {
  if (reference.startsWith("#")) return base.replace(/#.*$/, "") + reference;
  try {
    return new URL(reference, base).href;
  } catch {
    return undefined;
  }
}

function split(address: string): [uri: string, fragment: string] {
  const at = address.indexOf("#");
  return at < 0 ? [address, ""] : [address.slice(0, at), address.slice(at + 1)];
}

function decodePart(part: string): string {
  let text = part;
  try {
    text = decodeURIComponent(part);
  } catch {
    // A percent sign that stands for itself.
  }
  return text.replaceAll("~1", "/").replaceAll("~0", "~");
}
