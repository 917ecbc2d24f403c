// What users can import is documented: every export of every entry point, and every field, option and method of those, has
// a doc comment, which editors show. The compiler's own reading of the sources says what there is.
import { join, relative } from 'node:path';
import ts from 'typescript-5.9';
import { expect, test } from 'vitest';
import { root } from '../support/command.ts';

const entries = {
  modelc: 'runtime/index.ts',
  'modelc/nn': 'frontends/dsl/index.ts',
  'modelc/compiler': 'runtime/compiler/compile.ts',
  'modelc/vite': 'runtime/plugin/vite.ts',
  'modelc/esbuild': 'runtime/plugin/esbuild.ts',
  'an artifact': 'runtime/artifact/api.ts',
  'training arguments': 'runtime/trainer/arguments.ts',
  'options of trainers': 'runtime/trainer/trainer-options.ts',
  adapters: 'runtime/peft/index.ts',
} as const;

const { config } = ts.readConfigFile(join(root, 'tsconfig.json'), ts.sys.readFile);
const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root);
const files = Object.values(entries).map((file) => join(root, file));
const program = ts.createProgram(files, { ...options, noEmit: true });
const checker = program.getTypeChecker();

/** Where a symbol is declared, in this project; undefined for those of others. */
function placeOf(symbol: ts.Symbol): string | undefined {
  const [declaration] = symbol.declarations ?? [];
  const source = declaration?.getSourceFile();
  if (!source || source.fileName.includes('node_modules')) return undefined;
  const { line } = source.getLineAndCharacterOfPosition(declaration.getStart());
  return `${relative(root, source.fileName)}:${line + 1}`;
}

/** Fields and methods that users see, inherited ones included. */
function membersOf(symbol: ts.Symbol): ts.Symbol[] {
  const type = symbol.flags & ts.SymbolFlags.Type ? checker.getDeclaredTypeOfSymbol(symbol) : undefined;
  const fields = type && !type.isUnion() ? type.getProperties() : []; // the comment of a union tells what it is of
  const all = [...fields, ...(symbol.exports?.values() ?? [])];
  return all.filter((member) => {
    const [declaration] = member.declarations ?? [];
    if (!declaration || member.flags & ts.SymbolFlags.Prototype) return false;
    const name = ts.getNameOfDeclaration(declaration);
    const hidden = ts.getCombinedModifierFlags(declaration) & ts.ModifierFlags.Private;
    return !hidden && !(name && (ts.isPrivateIdentifier(name) || ts.isComputedPropertyName(name)));
  });
}

function undocumented(entry: string): string[] {
  const module = checker.getSymbolAtLocation(program.getSourceFile(join(root, entry))!)!;
  const exported = checker.getExportsOfModule(module).map((symbol) => {
    const target = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
    return [target, ...membersOf(target)].map((part) => ({
      name: part === target ? symbol.name : `${symbol.name}.${part.name}`,
      place: placeOf(part),
      comment: ts.displayPartsToString(part.getDocumentationComment(checker)),
    }));
  });
  return exported
    .flat()
    .filter(({ place, comment }) => place !== undefined && comment.trim() === '')
    .map(({ name, place }) => `${place} ${name}`);
}

test.each(Object.entries(entries))('all that %s exports has a doc comment', (_, file) => {
  expect(undocumented(file)).toEqual([]);
});
