// A call that a case has as text: `tokenizer(texts, { padding: true })`. It is read as the call of a known function with
// literals and known names as arguments, and never evaluated as a program.
import { ModelcError } from '../../../ir/error.ts';

/** What the text of a call may name. */
export interface Scope {
  /** By the text before the parenthesis: `tokenizer`, `tokenizer.encode`, `new LoraConfig`. */
  readonly functions: Readonly<Record<string, (...args: readonly unknown[]) => unknown>>;
  readonly values: Readonly<Record<string, unknown>>;
}

export interface Call {
  readonly name: string;
  readonly args: readonly unknown[];
  run(): unknown;
}

const token = /\s*('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|-?\d[\w.+]*|[A-Za-z_$][\w$.]*|[()[\]{},:])/y;
const words: ReadonlyMap<string, unknown> = new Map<string, unknown>([
  ['true', true],
  ['false', false],
  ['null', null],
  ['undefined', undefined],
  ['Infinity', Number.POSITIVE_INFINITY],
  ['NaN', Number.NaN],
]);

/** Reads a call. Throws ModelcError 'parse' for what is more than that, and for names that are not in scope. */
export function readCall(text: string, scope: Scope): Call {
  const tokens = tokensOf(text);
  let at = 0;
  const fail = (): never => {
    throw new ModelcError('parse', `the call ${text} cannot be read at '${tokens[at] ?? 'its end'}'`);
  };
  const take = (wanted: string): boolean => tokens[at] === wanted && at++ >= 0;
  const expect = (wanted: string): void => void (take(wanted) || fail());
  const list = <T>(end: string, item: () => T): T[] => {
    const items: T[] = [];
    while (!take(end)) {
      items.push(item());
      if (tokens[at] !== end) expect(',');
    }
    return items;
  };
  const property = (): [string, unknown] => {
    const key = tokens[at++] ?? fail();
    const name = /^['"]/.test(key) ? stringOf(key) : key;
    return take(':') ? [name, value()] : [name, named(name)];
  };
  const named = (name: string): unknown => {
    if (words.has(name)) return words.get(name);
    let found: unknown = Object.hasOwn(scope.values, name) ? scope.values[name] : fail();
    while (take('[')) {
      const index = Number(tokens[at++]);
      found = Array.isArray(found) && Number.isInteger(index) ? found.at(index) : fail();
      expect(']');
    }
    return found;
  };
  const value = (): unknown => {
    const first = tokens[at++] ?? fail();
    if (first === '[') return list(']', value);
    if (first === '{') return Object.fromEntries(list('}', property));
    if (/^['"]/.test(first)) return stringOf(first);
    return /^-?\d/.test(first) ? Number(first) : named(first);
  };

  take('await');
  const name = `${take('new') ? 'new ' : ''}${tokens[at++] ?? fail()}`;
  if (!Object.hasOwn(scope.functions, name)) fail();
  expect('(');
  const args = list(')', value);
  if (at < tokens.length) fail();
  return { name, args, run: () => scope.functions[name](...args) };
}

function tokensOf(text: string): string[] {
  const found: string[] = [];
  token.lastIndex = 0;
  for (let end = 0; end < text.trimEnd().length; end = token.lastIndex) {
    const match = token.exec(text);
    if (!match) throw new ModelcError('parse', `the call ${text} cannot be read from character ${end} on`);
    found.push(match[1]);
  }
  return found;
}

const stringOf = (quoted: string): string =>
  quoted.slice(1, -1).replace(/\\(.)/g, (_, c: string) => ({ n: '\n', t: '\t' })[c] ?? c);

/** The names of the options of a call: the keys of the objects among its arguments. */
export const optionNames = ({ args }: Call): string[] =>
  args.flatMap((arg) => (typeof arg === 'object' && arg !== null && !Array.isArray(arg) ? Object.keys(arg) : []));
