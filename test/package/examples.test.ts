// Code that users copy is code that compiles: the TypeScript blocks of README.md and docs/, each page read as one program,
// and the examples in the doc comments of what users import. A block that begins with the name of a file is a file of its
// own. Types are checked against the sources that the package's exports name.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript-5.9';
import { expect, test } from 'vitest';
import { root } from '../support/command.ts';

const entries = {
  modelc: 'runtime/index.ts',
  'modelc/nn': 'frontends/dsl/index.ts',
  'modelc/compiler': 'runtime/compiler/compile.ts',
  'modelc/vite': 'runtime/plugin/vite.ts',
  'modelc/esbuild': 'runtime/plugin/esbuild.ts',
} as const;

const { config } = ts.readConfigFile(join(root, 'tsconfig.json'), ts.sys.readFile);
const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root);
const paths = Object.fromEntries(Object.entries(entries).map(([name, file]) => [name, [join(root, file)]]));

/** What a page or a comment may mention without saying how it came about. */
const around: Readonly<Record<string, string>> = {
  'model/index.ts': "export { default } from '../dist/model/index.ts';",
  'dist/model/index.ts':
    "import type { Model } from '../../runtime/artifact/api.ts'; declare const model: Model; export default model;",
  'story.model.ts': "import { defineModel } from 'modelc'; export default defineModel({ checkpoint: './FOLDER' });",
};

const pages = ['README.md', ...readdirSync(join(root, 'docs')).map((name) => `docs/${name}`)];

/** The programs of a page. */
function programsOf(page: string): string[] {
  const blocks = [...readFileSync(join(root, page), 'utf8').matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code]) => code);
  const isFile = (code: string): boolean => /^\/\/ [\w.-]+\.ts\b/.test(code);
  const shared = blocks.filter((code) => !isFile(code));
  return [...(shared.length > 0 ? [shared.join('\n')] : []), ...blocks.filter(isFile)];
}

/** Names are imported without saying which ones are types. */
const loose = { verbatimModuleSyntax: false, isolatedModules: false };

/** What the compiler says of programs, by their names. */
function faultsOf(sources: ReadonlyMap<string, string>): string[] {
  const files = new Map([...Object.entries(around), ...sources].map(([name, code]) => [join(root, name), code]));
  const host = ts.createCompilerHost(options);
  const { fileExists, readFile, getSourceFile } = host;
  host.fileExists = (file) => files.has(file) || fileExists(file);
  host.directoryExists = undefined;
  host.readFile = (file) => files.get(file) ?? readFile(file);
  host.getSourceFile = (file, language, ...rest) => {
    const code = files.get(file);
    return code === undefined ? getSourceFile(file, language, ...rest) : ts.createSourceFile(file, code, language);
  };
  const names = [...sources.keys()].map((name) => join(root, name));
  const program = ts.createProgram(names, { ...options, ...loose, paths, noEmit: true }, host);
  return names.flatMap((name) => {
    const file = program.getSourceFile(name)!;
    const faults = [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)];
    return faults.map(({ start = 0, messageText }) => {
      const { line } = file.getLineAndCharacterOfPosition(start);
      const code = file.text.split('\n')[line].trim();
      return `${name.slice(root.length)}: ${code}: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`;
    });
  });
}

/** Names that examples use without saying where they come from. */
const given = `
  declare const model: PreTrainedModel, tokenizer: PreTrainedTokenizer, texts: Dataset, train_dataset: Dataset;
  const inputs = tokenizer('Once upon a time');
`;
/** The same within a model: tensors of hidden states, heads and rotations. */
const givenInModels = `
  declare const x: Tensor, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, mask: Tensor, pixels: Tensor;
  declare const inputIds: Tensor, positionIds: Tensor, logits: Tensor, labels: Tensor;
  declare const layer: number, rotation: Rotation, cache: Cache;
`;

type Entry = keyof typeof entries;
const program = ts.createProgram(
  Object.values(entries).map((file) => join(root, file)),
  { ...options, noEmit: true },
);
const checker = program.getTypeChecker();

/** Programs of the code in the doc comments of what an entry exports, and of its fields and methods, by what it documents. */
function examplesOf(entry: Entry): [name: string, code: string][] {
  const source = program.getSourceFile(join(root, entries[entry]))!;
  const exported = checker.getExportsOfModule(checker.getSymbolAtLocation(source)!);
  const symbols = exported.map((s) => (s.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(s) : s));
  const names = exported.map(({ name }) => name).filter((name) => name !== 'default');
  const known: Readonly<Partial<Record<Entry, string>>> = { modelc: given, 'modelc/nn': givenInModels };
  const head = `import { ${names.join(', ')} } from '${entry}';\n${known[entry] ?? ''}`;
  const examples: [string, string][] = [];
  for (const [i, symbol] of symbols.entries()) {
    const members = [...(symbol.members?.values() ?? []), ...(symbol.exports?.values() ?? [])];
    for (const part of [symbol, ...members]) {
      const comment = ts.displayPartsToString(part.getDocumentationComment(checker));
      const lines = comment.split('\n').flatMap((line) => (line.startsWith('    ') ? [line.trimStart()] : []));
      const name = part === symbol ? exported[i].name : `${exported[i].name}.${part.name}`;
      if (lines.length === 0) continue;
      const isImport = (line: string): boolean => line.startsWith('import ');
      const code = [...lines.filter(isImport), head, '{', ...lines.filter((line) => !isImport(line)), '}'];
      examples.push([`${entry.replace('/', '-')} ${name}.ts`, code.join('\n')]);
    }
  }
  return examples;
}

test('the code on every page', () => {
  const sources = pages.flatMap((page) =>
    programsOf(page).map((code, i): [string, string] => [`${page.replace('/', '-')}-${i}.ts`, code]),
  );
  expect(sources.length).toBeGreaterThan(6);
  expect(faultsOf(new Map(sources))).toEqual([]);
});

test('the examples in the comments of what users import', () => {
  const examples = new Map((Object.keys(entries) as Entry[]).flatMap(examplesOf));
  const begin = ['AutoModelForCausalLM', 'AutoTokenizer', 'pipeline', 'Trainer', 'defineModel'];
  expect([...examples.keys()]).toEqual(expect.arrayContaining(begin.map((name) => `modelc ${name}.ts`)));
  expect(faultsOf(examples)).toEqual([]);
});
