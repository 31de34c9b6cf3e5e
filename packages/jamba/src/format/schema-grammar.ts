// JSON Schema as xgrammar's EBNF. The grammar may be narrower than the schema, never wider. It knows nothing of tokens.
// Written here because xgrammar's own converter drops what it can't do, and lets control characters into strings.

import { JambaError } from "@jamba/core";
import { decimalRange, integerRange } from "./number-grammar.ts";
import { literal, plainBut, type RegexOptions, regexGrammar, repeated } from "./regex-grammar.ts";
import { areExclusive } from "./schema-branches.ts";
import {
  annotations,
  decodePart,
  enforced,
  expectCount,
  expectList,
  expectNumber,
  expectSome,
  fail,
  formats,
  isOfType,
  isSchema,
  keywordsOf,
  meaning,
  pythonLine,
  type Schema,
  same,
  show,
} from "./schema-keywords.ts";

export interface SchemaOptions {
  /** Takes the paths of keywords that can't be enforced, which are left out then instead of thrown. */
  readonly notEnforced?: Set<string>;
  /** What errors call the schema. */
  readonly name?: string;
}

/** Each character more of a bounded string is a look at every token of the vocabulary when the grammar is compiled: for 65,536, 30 ms. */
const maxStringBound = 64;
const maxItemsBound = 1000;
const maxDepth = 64;
const maxRules = 5000;

const plain = plainBut([]);

/** One line, with Python's separators: what the templates show the models. Numbers have at most 15 digits on each side. */
const basics: Readonly<Record<string, string>> = {
  value: 'object | array | string | number | "true" | "false" | "null"',
  object: '"{" (string ": " value (", " string ": " value)*)? "}"',
  array: '"[" (value (", " value)*)? "]"',
  // Recursion to the right: what a token may do is then known when the grammar is compiled.
  string: '"\\"" tail',
  tail: ['"\\""', ...plain.map((char) => `${char} tail`), '"\\\\" escape tail'].join(" | "),
  // No half of a surrogate pair.
  escape: '["\\\\/bfnrt] | "u" [0-9a-cA-CefEF] [0-9a-fA-F] [0-9a-fA-F] [0-9a-fA-F] | "u" [dD] [0-7] [0-9a-fA-F] [0-9a-fA-F]',
  integer: '"-"? ("0" | [1-9] [0-9]{0,14})',
  number: 'integer ("." [0-9]{1,15})? ([eE] [+\\-]? [0-9]{1,2})?',
};

/**
 * Objects have their properties in the schema's order, and no others unless `additionalProperties` allows them or the schema lists none.
 * `oneOf` is read as `anyOf`, which needs branches that exclude one another by types, constants or required properties. Keys that
 * `properties` does not list may repeat. Not enforceable, and refused unless `notEnforced` takes them: `not`, `if`, `multipleOf`,
 * `uniqueItems`, `contains`, `dependent…`, `propertyNames`, `unevaluated…`, other formats than `schema-keywords.ts` has, lengths of strings
 * above 64, lengths beside a pattern, and whatever keyword is not known.
 *
 * @returns EBNF whose root rule is `root`
 * @throws JambaError OPTION for a schema that is wrong, or has a keyword that can't be enforced; it says where and which
 */
export function schemaGrammar(schema: unknown, options: SchemaOptions = {}): string {
  return new SchemaGrammar(schema, options).text();
}

/** Any JSON object or array. */
export function anyJsonGrammar(): string {
  return schemaGrammar({ type: ["object", "array"] });
}

class SchemaGrammar {
  readonly #root: unknown;
  readonly #notEnforced: Set<string> | undefined;
  readonly #name: string;
  readonly #rules = new Map<string, string>(Object.entries(basics));
  readonly #named = new Map<unknown, string>();
  /** Those whose rule is being written, with nothing read yet: to meet one again is a ring. */
  #open = new Set<unknown>();
  #depth = 0;
  #count = 0;

  constructor(root: unknown, { notEnforced, name = "schema" }: SchemaOptions) {
    this.#root = root;
    this.#notEnforced = notEnforced;
    this.#name = name;
  }

  text(): string {
    this.#rules.set("root", this.#value(this.#root, this.#name));
    return [...this.#rules].map(([name, body]) => `${name} ::= ${body}\n`).join("");
  }

  /** The name of the rule for a schema's values. */
  #value(schema: unknown, path: string): string {
    if (schema === true) return "value";
    if (!isSchema(schema)) fail(path, "a schema that something satisfies", schema);
    if (this.#open.has(schema)) fail(path, "a schema that is not made of itself alone", "one that is");
    const known = this.#named.get(schema);
    if (known !== undefined) return known;
    // Half of the rules are for what is begun already.
    if (this.#notEnforced && (this.#depth >= maxDepth || this.#count >= maxRules / 2)) return this.#leftOut(path, "value");
    if (this.#depth >= maxDepth) fail(path, `schemas at most ${maxDepth} deep`, "a deeper one");
    const name = this.#fresh(path);
    this.#named.set(schema, name);
    this.#open.add(schema);
    this.#depth++;
    this.#rules.set(name, this.#body(schema, path));
    this.#depth--;
    this.#open.delete(schema);
    return name;
  }

  /** A part of an object or array: what is open outside may come again. */
  #inner(schema: unknown, path: string): string {
    const open = this.#open;
    this.#open = new Set();
    const name = this.#value(schema, path);
    this.#open = open;
    return name;
  }

  #rule(body: string, path: string): string {
    const name = this.#fresh(path);
    this.#rules.set(name, body);
    return name;
  }

  #fresh(path: string): string {
    if (this.#count >= maxRules) fail(path, `a schema of at most ${maxRules} rules`, "a larger one");
    return `r${this.#count++}`;
  }

  #body(schema: Schema, path: string): string {
    for (const [keyword, value] of Object.entries(schema)) {
      if (enforced.has(keyword) || annotations.has(keyword) || keyword.startsWith("x-") || value === undefined) continue;
      if (value !== false) this.#unenforceable(`${path}.${keyword}`, value);
    }
    const { $ref, allOf, anyOf = schema.oneOf, enum: listed, const: constant, ...own } = schema;
    if ($ref !== undefined) return this.#value(this.#merge([this.#resolve($ref, path), { ...schema, $ref: undefined }], path), path);
    if (allOf !== undefined)
      return this.#value(this.#merge([{ ...schema, allOf: undefined }, ...expectSome(allOf, `${path}.allOf`)], path), path);
    if (constant !== undefined) return this.#literals([constant], schema, path);
    if (listed !== undefined) return this.#literals(expectSome(listed, `${path}.enum`), schema, path);
    if (anyOf !== undefined) {
      const rest = { ...own, oneOf: undefined };
      const where = `${path}.${schema.anyOf === undefined ? "oneOf" : "anyOf"}`;
      const branches = expectSome(anyOf, where);
      if (schema.anyOf !== undefined && schema.oneOf !== undefined) this.#unenforceable(`${path}.oneOf`, schema.oneOf);
      const merged = branches.map((branch, i) => this.#merge([rest, branch], `${where}[${i}]`));
      if (schema.anyOf === undefined) this.#expectExclusive(merged, where);
      return merged.map((branch, i) => this.#value(branch, `${where}[${i}]`)).join(" | ");
    }
    return this.#types(schema, path)
      .map((type) => this.#typed(type, schema, path))
      .join(" | ");
  }

  #expectExclusive(branches: readonly unknown[], path: string): void {
    const resolve = (schema: unknown) => (isSchema(schema) ? this.#inlined(schema, path) : undefined);
    if (!areExclusive(branches.map(resolve), resolve)) this.#unenforceable(path, branches, "a choice of branches that may overlap");
  }

  #types(schema: Schema, path: string): string[] {
    if (schema.type !== undefined)
      return Array.isArray(schema.type) ? expectSome(schema.type, `${path}.type`).map(String) : [String(schema.type)];
    const meant = Object.entries(keywordsOf).filter(([, keywords]) => keywords.some((keyword) => schema[keyword] !== undefined));
    return meant.length > 0 ? meant.map(([type]) => type) : ["value"];
  }

  #typed(type: string, schema: Schema, path: string): string {
    if (type === "value") return "value";
    if (type === "null") return '"null"';
    if (type === "boolean") return '"true" | "false"';
    if (type === "string") return this.#string(schema, path);
    if (type === "integer" || type === "number") return this.#number(type, schema, path);
    if (type === "array") return this.#array(schema, path);
    if (type === "object") return this.#object(schema, path);
    return fail(`${path}.type`, "object, array, string, number, integer, boolean or null", type);
  }

  #literals(values: readonly unknown[], schema: Schema, path: string): string {
    const { type, ...others } = schema;
    const types = type === undefined ? undefined : this.#types(schema, path);
    const kept = types ? values.filter((value) => types.some((t) => isOfType(value, t))) : values;
    for (const keyword of Object.keys(others))
      if (
        Object.values(keywordsOf)
          .flat()
          .some((k) => k === keyword)
      )
        this.#unenforceable(`${path}.${keyword}`, schema[keyword], "a keyword beside enum or const");
    if (kept.length === 0) fail(path, "values of the schema's type", values);
    return kept.map((value) => literal(pythonLine(value))).join(" | ");
  }

  #string(schema: Schema, path: string): string {
    const { pattern, format, minLength = 0, maxLength = Number.POSITIVE_INFINITY } = schema;
    const [min, max] = [expectCount(minLength, `${path}.minLength`), expectCount(maxLength, `${path}.maxLength`)];
    if (max < min) fail(`${path}.maxLength`, `at least minLength ${min}`, max);
    const known = typeof format === "string" && Object.hasOwn(formats, format) ? formats[format] : undefined;
    if (format !== undefined && !known) this.#unenforceable(`${path}.format`, format);
    const written = pattern ?? known;
    if (written !== undefined) {
      if (typeof written !== "string") fail(`${path}.pattern`, "a text", written);
      if (pattern !== undefined && known) this.#unenforceable(`${path}.format`, format, "a format beside a pattern");
      if (min > 0) this.#unenforceable(`${path}.minLength`, min, "a length beside pattern or format");
      if (max < Number.POSITIVE_INFINITY) this.#unenforceable(`${path}.maxLength`, max, "a length beside pattern or format");
      try {
        return this.#rule(`"\\"" ${regexGrammar(written, this.#inString(`${path}.pattern`, pattern !== undefined))} "\\""`, path);
      } catch (error) {
        if (!this.#notEnforced) throw error;
        return this.#leftOut(`${path}.${pattern === undefined ? "format" : "pattern"}`, "string");
      }
    }
    const longest = max === Number.POSITIVE_INFINITY ? min : max;
    if (longest === 0) return max === 0 ? '"\\"\\""' : "string";
    if (longest > maxStringBound) {
      const keyword = max === Number.POSITIVE_INFINITY ? "minLength" : "maxLength";
      this.#unenforceable(`${path}.${keyword}`, longest, `a bound of a string's length above ${maxStringBound}`);
      return "string";
    }
    return `"\\"" ${this.#tail(min, max, path)}`;
  }

  /** From `min` to `max` more characters, and the closing quote. The same bounds share their rules. */
  #tail(min: number, max: number, path: string): string {
    let next = max === Number.POSITIVE_INFINITY ? "tail" : "";
    const longest = max === Number.POSITIVE_INFINITY ? min : max;
    const first = max === Number.POSITIVE_INFINITY ? 1 : 0;
    for (let left = first; left <= longest; left++) {
      // `left` characters may (or, without a maximum, must) still come.
      const mayEnd = max !== Number.POSITIVE_INFINITY && longest - left >= min;
      const name = `tail_${mayEnd ? "" : "not_"}${max === Number.POSITIVE_INFINITY ? "many" : ""}${left}_${max === Number.POSITIVE_INFINITY ? 0 : longest - min}`;
      if (!this.#rules.has(name)) {
        const more = next === "" ? [] : [...plain.map((char) => `${char} ${next}`), `"\\\\" escape ${next}`];
        this.#fresh(path);
        this.#rules.set(name, [...(mayEnd ? ['"\\""'] : []), ...more].join(" | "));
      }
      next = name;
    }
    return next;
  }

  #inString(name: string, search: boolean): RegexOptions {
    const rule = (body: (self: string) => string) => {
      const self = this.#fresh(name);
      this.#rules.set(self, body(self));
      return self;
    };
    return { json: true, search, name, rule };
  }

  #number(type: "integer" | "number", schema: Schema, path: string): string {
    const [min, max] = [schema.minimum, schema.maximum].map((v, i) => expectNumber(v, `${path}.${i === 0 ? "minimum" : "maximum"}`));
    const [above, below] = [schema.exclusiveMinimum, schema.exclusiveMaximum].map((v, i) =>
      expectNumber(v, `${path}.${i === 0 ? "exclusiveMinimum" : "exclusiveMaximum"}`),
    );
    if ([min, max, above, below].every((bound) => bound === undefined)) return type;
    const range = (type === "integer" ? integerRange : decimalRange)({ min, max, above, below });
    return range ?? fail(path, "bounds that a number of 15 digits fits between", { min, max, above, below });
  }

  #array(schema: Schema, path: string): string {
    const listed = Array.isArray(schema.items) ? schema.items : schema.prefixItems; // lists of `items` are draft 7's
    const prefix = listed === undefined ? [] : expectList(listed, `${path}.prefixItems`);
    const rest = Array.isArray(schema.items) ? schema.additionalItems : schema.items;
    const [min, wanted] = [expectCount(schema.minItems ?? 0, `${path}.minItems`), schema.maxItems];
    let max = wanted === undefined ? Number.POSITIVE_INFINITY : expectCount(wanted, `${path}.maxItems`);
    // After listed items no others come, unless the schema asks for them.
    if (rest === false || (rest === undefined && prefix.length > 0 && min <= prefix.length)) max = Math.min(max, prefix.length);
    if (max < min) fail(`${path}.maxItems`, `at least minItems ${min}`, max);
    const largest = max === Number.POSITIVE_INFINITY ? min : max;
    if (largest > maxItemsBound) {
      const keyword = max === Number.POSITIVE_INFINITY ? "minItems" : "maxItems";
      this.#unenforceable(`${path}.${keyword}`, largest, `a bound of an array's length above ${maxItemsBound}`);
      return this.#array({ ...schema, minItems: Math.min(min, maxItemsBound), maxItems: undefined }, path);
    }
    let after = "";
    if (max > prefix.length) {
      const item = this.#inner(rest ?? true, `${path}.items`);
      const [from, to] = [Math.max(0, min - prefix.length), max - prefix.length];
      if (prefix.length > 0) after = repeated(`", " ${item}`, from, to);
      else after = `${item} ${repeated(`", " ${item}`, Math.max(0, from - 1), to - 1)}`;
      if (prefix.length === 0 && from === 0) after = `(${after})?`;
    }
    for (let i = Math.min(prefix.length, max) - 1; i >= 0; i--) {
      const item = `${i > 0 ? '", " ' : ""}${this.#inner(prefix[i], `${path}.prefixItems[${i}]`)} ${after}`;
      after = this.#rule(i < min ? item : `"" | ${item}`, path);
    }
    return this.#rule(`"[" ${after} "]"`, path);
  }

  #object(schema: Schema, path: string): string {
    const properties = schema.properties ?? {};
    if (!isSchema(properties)) fail(`${path}.properties`, "an object of schemas", properties);
    const required = expectList(schema.required ?? [], `${path}.required`).map(String);
    const patterns = schema.patternProperties ?? {};
    if (!isSchema(patterns)) fail(`${path}.patternProperties`, "an object of schemas", patterns);
    const isBare = Object.keys(properties).length === 0 && Object.keys(patterns).length === 0;
    const additional = schema.additionalProperties ?? isBare;
    const listed = Object.entries(properties);
    for (const name of new Set(required)) {
      if (Object.hasOwn(properties, name)) continue;
      if (schema.additionalProperties === false) fail(`${path}.required`, "names that additionalProperties: false allows", name);
      listed.push([name, additional === false ? true : additional]);
    }
    const rules = 3 * listed.length;
    if (this.#notEnforced && this.#count + rules > maxRules) return this.#leftOut(`${path}.properties`, "object");
    const pairs = listed.map(
      ([name, value]) => `${literal(JSON.stringify(name))} ": " ${this.#inner(value, `${path}.properties.${name}`)}`,
    );
    const extra = this.#extraPairs(
      listed.map(([name]) => name),
      patterns,
      additional,
      path,
    );
    const [min, max] = [expectCount(schema.minProperties ?? 0, `${path}.minProperties`), schema.maxProperties];
    const most = max === undefined ? Number.POSITIVE_INFINITY : expectCount(max, `${path}.maxProperties`);
    if (most < Math.max(min, new Set(required).size)) fail(`${path}.maxProperties`, "at least what must be there", most);
    const counted = listed.length === 0 && extra !== undefined;
    if (counted && Math.max(min, most === Number.POSITIVE_INFINITY ? 0 : most) <= maxItemsBound) {
      const more = most === 0 ? '""' : `${extra} ${repeated(`", " ${extra}`, Math.max(0, min - 1), most - 1)}`;
      return this.#rule(`"{" ${min === 0 ? `(${more})?` : more} "}"`, path);
    }
    if (min > new Set(required).size) this.#unenforceable(`${path}.minProperties`, min);
    if (most < listed.length || (extra !== undefined && most < Number.POSITIVE_INFINITY))
      this.#unenforceable(`${path}.maxProperties`, most);
    // `first`: nothing is written yet; `after`: something is.
    let after = this.#rule(extra === undefined ? '""' : `(", " ${extra})*`, path);
    let first = this.#rule(extra === undefined ? '""' : `(${extra} (", " ${extra})*)?`, path);
    for (let i = pairs.length - 1; i >= 0; i--) {
      const mayLack = !required.includes(listed[i][0]);
      first = this.#rule(`${pairs[i]} ${after}${mayLack ? ` | ${first}` : ""}`, path);
      after = this.#rule(`", " ${pairs[i]} ${after}${mayLack ? ` | ${after}` : ""}`, path);
    }
    return this.#rule(`"{" ${first} "}"`, path);
  }

  /** A pair that `properties` does not list, or undefined if there may be none. */
  #extraPairs(listed: readonly string[], patterns: Schema, additional: unknown, path: string): string | undefined {
    const choices = Object.entries(patterns).map(([pattern, value]) => {
      const where = `${path}.patternProperties`;
      return `${this.#patternKey(pattern, listed, where)} ": " ${this.#inner(value, `${where}.${pattern}`)}`;
    });
    if (choices.length > 1) this.#unenforceable(`${path}.patternProperties`, Object.keys(patterns), "several patterns, which may overlap,");
    if (additional !== false) {
      if (choices.length > 0) this.#unenforceable(`${path}.additionalProperties`, additional, "more properties beside patternProperties");
      const key = listed.length === 0 ? "string" : `"\\"" ${this.#otherKey(listed, path)}`;
      choices.push(`${key} ": " ${this.#inner(additional, `${path}.additionalProperties`)}`);
    }
    return choices.length === 0 ? undefined : this.#rule(choices.join(" | "), path);
  }

  #patternKey(pattern: string, listed: readonly string[], path: string): string {
    try {
      const key = regexGrammar(pattern, this.#inString(path, true));
      const isListed = listed.some((name) => new RegExp(pattern).test(name));
      if (isListed) this.#unenforceable(path, pattern, "a pattern that also fits a listed property");
      return `"\\"" ${key} "\\""`;
    } catch (error) {
      if (!this.#notEnforced) throw error;
      return this.#leftOut(path, "string");
    }
  }

  /** The rest of a key that is none of `names`, without escapes, and its closing quote. */
  #otherKey(names: readonly string[], path: string): string {
    const heads = [...new Set(names.filter((name) => name !== "").map((name) => [...name][0]))];
    const others = plainBut(heads).map((char) => `${char} ${this.#keyTail(path)}`);
    const deeper = heads.map((head) => {
      const tails = names.filter((name) => name.startsWith(head)).map((name) => name.slice(head.length));
      return `${literal(head)} ${this.#otherKey(tails, path)}`;
    });
    return this.#rule([...(names.includes("") ? [] : ['"\\""']), ...others, ...deeper].join(" | "), path);
  }

  #keyTail(path: string): string {
    if (!this.#rules.has("key_tail")) {
      this.#fresh(path);
      this.#rules.set("key_tail", ['"\\""', ...plain.map((char) => `${char} key_tail`)].join(" | "));
    }
    return "key_tail";
  }

  /** One schema for values that satisfy all of `schemas`. */
  #merge(schemas: readonly unknown[], path: string): unknown {
    const parts = schemas
      .filter((schema) => schema !== true && !(isSchema(schema) && Object.keys(meaning(schema)).length === 0))
      .map((schema) => (isSchema(schema) ? schema : fail(path, "schemas that something satisfies", schema)));
    if (parts.length <= 1) return parts[0] ?? true;
    const merged: Record<string, unknown> = {};
    for (const part of parts.map((schema) => this.#inlined(schema, path))) {
      for (const [keyword, value] of Object.entries(part)) {
        if (annotations.has(keyword)) continue;
        const before = merged[keyword];
        merged[keyword] = before === undefined || same(before, value) ? value : this.#both(keyword, before, value, merged, path);
      }
    }
    return merged;
  }

  /** What a $ref stands for, so that it can be merged. */
  #inlined(schema: Schema, path: string): Schema {
    if (schema.$ref === undefined) return meaning(schema);
    if (this.#depth++ >= maxDepth) fail(path, `references at most ${maxDepth} deep`, "more");
    const whole = this.#merge([this.#resolve(schema.$ref, path), { ...schema, $ref: undefined }], path);
    const inlined = isSchema(whole) ? this.#inlined(whole, path) : {};
    this.#depth--;
    return inlined;
  }

  #both(keyword: string, a: unknown, b: unknown, merged: Record<string, unknown>, path: string): unknown {
    if (keyword === "required" && Array.isArray(a) && Array.isArray(b)) return [...new Set([...a, ...b])];
    if (keyword === "properties" && isSchema(a) && isSchema(b)) {
      const shared = Object.keys(b).filter((name) => Object.hasOwn(a, name));
      return {
        ...a,
        ...b,
        ...Object.fromEntries(shared.map((name) => [name, same(a[name], b[name]) ? a[name] : { allOf: [a[name], b[name]] }])),
      };
    }
    if (keyword === "type") {
      const both = [a].flat().filter((type) => [b].flat().includes(type));
      if (both.length > 0) return both;
    }
    if (/^(minimum|exclusiveMinimum|min[A-Z])/.test(keyword)) return Math.max(Number(a), Number(b));
    if (/^(maximum|exclusiveMaximum|max[A-Z])/.test(keyword)) return Math.min(Number(a), Number(b));
    if (keyword === "anyOf" || keyword === "oneOf" || keyword === "allOf") {
      merged.allOf = [...(Array.isArray(merged.allOf) ? merged.allOf : []), { [keyword]: b }];
      return keyword === "allOf" ? merged.allOf : a;
    }
    this.#unenforceable(`${path}.${keyword}`, [a, b], "a keyword given twice");
    return b;
  }

  #resolve(ref: unknown, path: string): unknown {
    let found: unknown = this.#root;
    const isInside = typeof ref === "string" && (ref === "#" || ref.startsWith("#/"));
    for (const part of isInside ? ref.split("/").slice(1) : []) {
      const key = decodePart(part);
      found = typeof found === "object" && found !== null && Object.hasOwn(found, key) ? (found as Schema)[key] : undefined;
    }
    if (isInside && found !== undefined) return found;
    if (!this.#notEnforced) fail(`${path}.$ref`, "a reference to a part of the schema, such as #/$defs/name", ref);
    this.#notEnforced.add(`${path}.$ref`);
    return true;
  }

  /** @returns the rule that stands for it */
  #leftOut(path: string, rule: string): string {
    this.#notEnforced!.add(path);
    return rule;
  }

  /** @param what is wrong with it where the keyword alone does not say it */
  #unenforceable(where: string, found: unknown, what?: string): void {
    if (!this.#notEnforced)
      throw new JambaError(
        "OPTION",
        `${where}: expected a schema that can be enforced${what === undefined ? "" : `, which ${what} is not`}, found ${show(found)}; ` +
          "leave it out and check the answer for it, or pass strict: false",
      );
    this.#notEnforced.add(where);
  }
}
