// Whoever holds a value of the package `jamba` can name its type: each type that its exports speak of is exported too.

import { fileURLToPath } from "node:url";
import ts from "typescript";
import { expect, test } from "vitest";

const root = fileURLToPath(new URL("../../", import.meta.url));
const index = `${root}packages/jamba/src/index.ts`;

/** Parts with packages of their own, which export what is in them. */
const parts = ["Backend", "Checkpoint", "Tokenizer"];

test("every type that a public signature of jamba names is exported by jamba", () => {
  // Without TypeScript's own library, whose types need no export: ten times as fast.
  const options = { noLib: true, types: [], moduleResolution: ts.ModuleResolutionKind.Bundler, module: ts.ModuleKind.ESNext };
  const program = ts.createProgram([index], { ...options, customConditions: ["source"], allowImportingTsExtensions: true, noEmit: true });
  const checker = program.getTypeChecker();
  const resolved = (symbol: ts.Symbol) => (symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol);
  const isOurs = (symbol: ts.Symbol) =>
    (symbol.declarations ?? []).some(
      (one) => one.getSourceFile().fileName.startsWith(root) && !/node_modules/.test(one.getSourceFile().fileName),
    );
  const names = checker.getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(index)!)!).map(resolved);
  const exported = new Set(names);
  const missing = new Map<string, string>();
  const seen = new Set<ts.Symbol>();
  const queue = [...names];
  const visit = (node: ts.Node, user: string): void => {
    if (isPrivate(node)) return;
    if (ts.isTypeReferenceNode(node) || ts.isExpressionWithTypeArguments(node)) {
      const found = checker.getSymbolAtLocation(ts.isTypeReferenceNode(node) ? node.typeName : node.expression);
      const symbol = found && resolved(found);
      if (symbol && isOurs(symbol) && !(symbol.flags & ts.SymbolFlags.TypeParameter)) {
        if (!exported.has(symbol)) missing.set(symbol.name, user);
        queue.push(symbol);
      }
    }
    ts.forEachChild(node, (child) => visit(child, user));
  };
  for (const symbol of queue) {
    if (seen.has(symbol) || parts.includes(symbol.name)) continue;
    seen.add(symbol);
    for (const declaration of symbol.declarations ?? []) if (isOurs(symbol)) visit(declaration, symbol.name);
  }
  // Of each such name, one of those whose signature has it.
  expect(Object.fromEntries(missing)).toEqual({});
  expect(seen.size).toBeGreaterThan(40);
});

/** What users of a value neither see nor call: bodies, initial values, constructors, statics, `#private` and `@internal` members. */
function isPrivate(node: ts.Node): boolean {
  if (ts.isBlock(node) || ts.isConstructorDeclaration(node)) return true;
  const { parent } = node;
  if (parent && "initializer" in parent && parent.initializer === node) return true;
  if (!ts.isClassElement(node)) return false;
  const isStatic = ts.canHaveModifiers(node) && ts.getModifiers(node)?.some(({ kind }) => kind === ts.SyntaxKind.StaticKeyword);
  return (
    Boolean(isStatic) ||
    (node.name !== undefined && ts.isPrivateIdentifier(node.name)) ||
    ts.getJSDocTags(node).some(({ tagName }) => tagName.text === "internal")
  );
}
