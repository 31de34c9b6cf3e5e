// Runs a parsed template as Jinja2 does. The nodes are those of @huggingface/jinja, which only parses here: run by it, `{{ none }}` is empty and `%` no format.

import { attributeOf, sliceOf, subscriptOf } from "./attributes.ts";
import { itemSteps, spend } from "./budget.ts";
import { applyFilter } from "./filters.ts";
import { binary, isComparison, unary } from "./operators.ts";
import { Scope } from "./scope.ts";
import { test } from "./tests.ts";
import { groupName } from "./tokens.ts";
import {
  type Callable,
  each,
  equal,
  Float,
  fail,
  isTrue,
  itemsOf,
  Namespace,
  plain,
  str,
  tuple,
  typeName,
  Undefined,
  type Value,
} from "./values.ts";

/** A node of any kind, with the fields that its kind has. */
export interface Node
  extends Readonly<Record<"test" | "loopvar" | "iterable" | "assignee" | "name" | "object" | "property" | "callee", Node>> {
  readonly type: string;
  readonly value: unknown;
  readonly body: readonly Node[];
  readonly alternate: readonly Node[];
  readonly defaultBlock: readonly Node[];
  readonly args: readonly Node[];
  readonly callerArgs: readonly Node[] | null;
  readonly operator: { readonly value: string };
  readonly computed: boolean;
  readonly start?: Node;
  readonly stop?: Node;
  readonly step?: Node;
  readonly left: Node;
  readonly right: Node;
  readonly operand: Node;
  readonly argument: Node;
  readonly filter: Node;
  readonly lhs: Node;
  readonly key: Node;
  readonly call: Node;
  readonly condition: Node;
  readonly trueExpr: Node;
  readonly falseExpr: Node;
}

type Signal = "break" | "continue" | undefined;

/** Writes what the statements say to `out`. @returns what ended them early */
export function run(nodes: readonly Node[], scope: Scope, out: string[]): Signal {
  for (const node of nodes) {
    const signal = runOne(node, scope, out);
    if (signal) return signal;
  }
  return undefined;
}

function write(out: string[], text: string): void {
  spend(text.length);
  out.push(text);
}

/** Of a node: about as long as so many characters take. */
const nodeSteps = 16;
/** Of a round of a loop, and a call of a macro: names of their own, and what Jinja tells about the loop. */
const roundSteps = 128;

function runOne(node: Node, scope: Scope, out: string[]): Signal {
  spend(nodeSteps);
  switch (node.type) {
    case "Comment":
      return undefined;
    case "Break":
      return "break";
    case "Continue":
      return "continue";
    case "If":
      return run(isTrue(evaluate(node.test, scope)) ? node.body : node.alternate, scope, out);
    case "For":
      return runLoop(node, scope, out);
    case "Set":
      runSet(node, scope);
      return undefined;
    case "Macro":
      scope.set(node.name.value as string, macroOf(node.args, node.body, scope, `'${node.name.value}'`));
      return undefined;
    case "CallStatement": {
      const { args, kwargs } = argumentsOf(node.call.args, scope);
      kwargs.set("caller", macroOf(node.callerArgs ?? [], node.body, scope, "None"));
      write(out, str(call(evaluate(node.call.callee, scope), args, kwargs)));
      return undefined;
    }
    case "FilterStatement":
      write(out, str(filtered(textOf(node.body, new Scope(scope)), node.filter, scope)));
      return undefined;
    default:
      write(out, str(evaluate(node, scope)));
      return undefined;
  }
}

function textOf(nodes: readonly Node[], scope: Scope): string {
  const out: string[] = [];
  run(nodes, scope, out);
  return out.join("");
}

function runLoop(node: Node, scope: Scope, out: string[]): Signal {
  const { iterable } = node;
  const isFiltered = iterable.type === "SelectExpression";
  const all = each(evaluate(isFiltered ? iterable.lhs : iterable, scope));
  const items = isFiltered
    ? all.filter((item) => {
        spend(nodeSteps);
        const inner = new Scope(scope);
        assign(node.loopvar, item, inner);
        return isTrue(evaluate(iterable.test, inner));
      })
    : all;
  const changes: { last?: readonly Value[] } = {};
  let isWhole = false;
  for (const [i, item] of items.entries()) {
    spend(roundSteps);
    const inner = new Scope(scope);
    inner.set("loop", loopOf(items, i, changes));
    assign(node.loopvar, item, inner);
    const signal = run(node.body, inner, out);
    if (signal === "break") break;
    if (!signal) isWhole = true;
  }
  // Jinja2 counts as no round one that was left early.
  return isWhole ? undefined : run(node.defaultBlock, new Scope(scope), out);
}

/** `loop` in the body of a loop. */
function loopOf(items: readonly Value[], i: number, changes: { last?: readonly Value[] }): Namespace {
  const { length } = items;
  return new Namespace([
    ["index", i + 1],
    ["index0", i],
    ["revindex", length - i],
    ["revindex0", length - i - 1],
    ["first", i === 0],
    ["last", i === length - 1],
    ["length", length],
    // Loops within loops are not deeper; only those that call themselves are.
    ["depth", 1],
    ["depth0", 0],
    ["previtem", i > 0 ? items[i - 1] : new Undefined("the item before the first")],
    ["nextitem", i < length - 1 ? items[i + 1] : new Undefined("the item behind the last")],
    ["cycle", (args) => (args.length > 0 ? args[i % args.length] : fail("no items for cycling given"))],
    [
      "changed",
      (args) => {
        const isNew = !changes.last || !equal([...changes.last], [...args]);
        changes.last = args;
        return isNew;
      },
    ],
  ]);
}

function runSet(node: Node, scope: Scope): void {
  const { assignee, value, body } = node;
  // {% set x | upper %}…{% endset %}
  const filters: Node[] = [];
  let target = assignee;
  for (; target.type === "FilterExpression"; target = target.operand) filters.unshift(target.filter);
  const found = value ? evaluate(value as Node, scope) : textOf(body, new Scope(scope));
  assign(
    target,
    filters.reduce<Value>((found, filter) => filtered(found, filter, scope), found),
    scope,
  );
}

function assign(target: Node, value: Value, scope: Scope): void {
  if (target.type === "Identifier") scope.set(target.value as string, value);
  else if (target.type === "TupleLiteral") {
    const targets = target.value as readonly Node[];
    const items = itemsOf(value);
    const amount = items.length < targets.length ? "not enough" : "too many";
    if (items.length !== targets.length) fail(`${amount} values to unpack (expected ${targets.length}, got ${items.length})`);
    for (const [i, one] of targets.entries()) assign(one, items[i], scope);
  } else {
    const object = target.type === "MemberExpression" ? evaluate(target.object, scope) : undefined;
    const isName = object instanceof Namespace && !target.computed;
    if (isName) object.entries.set(target.property.value as string, value);
    else fail("cannot assign attribute on non-namespace object");
  }
}

function macroOf(parameters: readonly Node[], body: readonly Node[], scope: Scope, name: string): Callable {
  const names = parameters.map((parameter) => (parameter.type === "Identifier" ? parameter : parameter.key).value as string);
  const [takesMore, takesNames, takesCaller] = ["varargs", "kwargs", "caller"].map((special) => mentions(body, special));
  return (args, given) => {
    spend(roundSteps);
    const inner = new Scope(scope);
    const kwargs = new Map(given);
    if (kwargs.has("caller") && takesCaller) inner.set("caller", kwargs.get("caller")!);
    kwargs.delete("caller");
    if (args.length > names.length && !takesMore) return fail(`macro ${name} takes not more than ${names.length} argument(s)`);
    for (const [i, parameter] of parameters.entries()) {
      const found = args[i] === undefined ? kwargs.get(names[i]) : args[i];
      kwargs.delete(names[i]);
      const other = parameter.type === "Identifier" ? new Undefined(`parameter '${names[i]}' was not provided`) : undefined;
      inner.set(names[i], found === undefined ? (other ?? evaluate(parameter.value as Node, inner)) : found);
    }
    if (kwargs.size > 0 && !takesNames) return fail(`macro ${name} takes no keyword argument '${[...kwargs.keys()][0]}'`);
    if (takesMore) inner.set("varargs", tuple(args.slice(names.length)));
    if (takesNames) inner.set("kwargs", new Map(kwargs));
    return textOf(body, inner);
  };
}

/** Whether a name is read anywhere within. */
function mentions(node: unknown, name: string): boolean {
  spend(itemSteps);
  if (Array.isArray(node)) return node.some((one) => mentions(one, name));
  if (node instanceof Map) return mentions([...node].flat(), name);
  if (typeof node !== "object" || node === null) return false;
  const { type, value } = node as Node;
  return (type === "Identifier" && value === name) || Object.values(node).some((one) => mentions(one, name));
}

function evaluate(node: Node, scope: Scope): Value {
  spend(nodeSteps);
  switch (node.type) {
    case "StringLiteral":
    case "IntegerLiteral":
      return node.value as string | number;
    case "FloatLiteral":
      return new Float(node.value as number);
    case "ArrayLiteral":
      return (node.value as readonly Node[]).map((item) => evaluate(item, scope));
    case "TupleLiteral":
      return tuple((node.value as readonly Node[]).map((item) => evaluate(item, scope)));
    case "ObjectLiteral":
      return new Map([...(node.value as Map<Node, Node>)].map(([key, value]) => [plain(evaluate(key, scope)), evaluate(value, scope)]));
    case "Identifier":
      return nameOf(node.value as string, scope);
    case "MemberExpression":
      return memberOf(node, scope);
    case "CallExpression": {
      const { args, kwargs } = argumentsOf(node.args, scope);
      return call(evaluate(node.callee, scope), args, kwargs);
    }
    case "FilterExpression":
      return filtered(evaluate(node.operand, scope), node.filter, scope);
    case "UnaryExpression":
      return unary(node.operator.value, evaluate(node.argument, scope));
    case "BinaryExpression":
      return binaryOf(node, scope);
    case "Ternary":
      return evaluate(isTrue(evaluate(node.condition, scope)) ? node.trueExpr : node.falseExpr, scope);
    case "SelectExpression":
      return isTrue(evaluate(node.test, scope)) ? evaluate(node.lhs, scope) : new Undefined("the value of an if without else");
    default:
      return fail(`${node.type}: expected an expression`);
  }
}

const constants: Readonly<Record<string, Value>> = { true: true, True: true, false: false, False: false, none: null, None: null };

function nameOf(name: string, scope: Scope): Value {
  return Object.hasOwn(constants, name) ? constants[name] : scope.get(name);
}

function memberOf({ object, property, computed }: Node, scope: Scope): Value {
  const value = evaluate(object, scope);
  if (!computed) return attributeOf(value, property.value as string | number);
  if (property.type !== "SliceExpression") return subscriptOf(value, plain(evaluate(property, scope)));
  const { start, stop, step } = property;
  return sliceOf(
    value,
    [start, stop, step].map((bound) => bound && evaluate(bound, scope)),
  );
}

function binaryOf({ operator: { value: operator }, left, right }: Node, scope: Scope): Value {
  if (operator === "and" || operator === "or") {
    const first = evaluate(left, scope);
    return isTrue(first) === (operator === "and") ? evaluate(right, scope) : first;
  }
  const isChain = isComparison(operator) && left.type === "BinaryExpression" && isComparison(left.operator.value);
  if (!isChain) return binary(operator, evaluate(left, scope), evaluate(right, scope));
  return isTrue(evaluate(left, scope)) && binary(operator, evaluate(left.right, scope), evaluate(right, scope));
}

function argumentsOf(nodes: readonly Node[], scope: Scope): { args: Value[]; kwargs: Map<string, Value> } {
  const args: Value[] = [];
  const kwargs = new Map<string, Value>();
  for (const node of nodes) {
    if (node.type === "KeywordArgumentExpression") kwargs.set(node.key.value as string, evaluate(node.value as Node, scope));
    else if (node.type === "SpreadExpression") for (const item of each(evaluate(node.argument, scope))) args.push(item);
    else if (node.type === "KeywordSpreadExpression") {
      const named = evaluate(node.argument, scope);
      if (!(named instanceof Map)) return fail(`argument after ** must be a mapping, not ${typeName(named)}`);
      for (const [name, value] of named) {
        spend(itemSteps);
        kwargs.set(str(name), value);
      }
    } else args.push(evaluate(node, scope));
  }
  return { args, kwargs };
}

function call(callee: Value, args: readonly Value[], kwargs: ReadonlyMap<string, Value>): Value {
  spend(itemSteps * (args.length + kwargs.size));
  if (typeof callee === "function") return callee(args, kwargs);
  return fail(callee instanceof Undefined ? `${callee.what} is undefined` : `'${typeName(callee)}' object is not callable`);
}

/** Tests are parsed as filters of the name `is …`. */
function filtered(value: Value, filter: Node, scope: Scope): Value {
  const name = (filter.type === "CallExpression" ? filter.callee : filter).value as string;
  if (name === groupName) return value;
  const { args, kwargs } = argumentsOf(filter.type === "CallExpression" ? filter.args : [], scope);
  const asked = /^is( not)? (.+)$/.exec(name);
  return asked ? test(asked[2], value, args) !== (asked[1] !== undefined) : applyFilter(name, value, args, kwargs);
}
