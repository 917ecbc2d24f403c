// Regular expressions as Python writes them, for matching names of modules: they are translated to JavaScript's, and what
// that lacks is refused. They come from files, too, so a match that takes too long is given up.
import { createContext, Script } from 'node:vm';
import { quote } from '../../frontends/huggingface/json.ts';
import { ModelcError } from '../../ir/error.ts';

/** Longer than any pattern that somebody wrote. */
const longest = 4096;

/** For one name; real patterns take microseconds. */
const mostMilliseconds = 500;

const unserved = (pattern: string, what: string): ModelcError =>
  new ModelcError('unsupported', `the pattern ${quote(pattern)} ${what}; write a simpler one`);

const wrong = (pattern: string, cause?: unknown): ModelcError =>
  new ModelcError('input', `${quote(pattern)} is no regular expression; write one as Python does`, { cause });

/** Escapes that mean the same in both languages. */
const sameEscapes = /^(?:[bBdDsSwWnrtfv]|x..|u....|[^a-zA-Z])$/s;
const otherEscapes: Readonly<Record<string, string>> = { A: '^', Z: '$', a: '\\x07' };

/** What Python's syntax at the start of a text is in JavaScript: how many characters it has, and the translation. */
type Rule = readonly [syntax: RegExp, translated: (match: RegExpExecArray, pattern: string) => string];

const rules: readonly Rule[] = [
  [/^\\(x[\da-fA-F]{2}|u[\da-fA-F]{4}|[\s\S])/, ([, after], pattern) => escaped(after, pattern, false)],
  [/^\[(\^?)(\]?)((?:\\[\s\S]|[^\]\\])*)\]/, ([, not, first, rest], pattern) => `[${not}${first && '\\]'}${setOf(rest, pattern)}]`],
  [/^\(\?P</, () => '(?<'],
  [/^\(\?P=(\w+)\)/, ([, name]) => `\\k<${name}>`],
  [/^\(\?#[^)]*\)/, () => ''],
  [/^\(\?(?:[:=!]|<[=!])/, ([same]) => same],
  [/^\(\?/, (_, pattern) => { throw unserved(pattern, 'has a group that JavaScript lacks'); }],
  [/^(?:[*+?]|\{\d*(?:,\d*)?\})\+/, (_, pattern) => { throw unserved(pattern, 'has a possessive repetition'); }],
  [/^\{,(\d*)\}/, ([, most]) => `{0,${most}}`],
  [/^\{(?!\d+(?:,\d*)?\})/, () => '\\{'],
  [/^[\s\S]/, ([same]) => same],
]; // biome-ignore format: one table

function escaped(after: string, pattern: string, inSet: boolean): string {
  if (sameEscapes.test(after)) return `\\${after}`;
  if (!inSet && Object.hasOwn(otherEscapes, after)) return otherEscapes[after];
  throw wrong(pattern);
}

const setOf = (text: string, pattern: string): string =>
  text.replace(/\\(x[\da-fA-F]{2}|u[\da-fA-F]{4}|[\s\S])/g, (_, after: string) => escaped(after, pattern, true));

function translated(pattern: string): string {
  let source = '';
  for (let at = 0; at < pattern.length; ) {
    const rest = pattern.slice(at);
    const [syntax, make] = rules.find(([r]) => r.test(rest))!;
    const match = syntax.exec(rest)!;
    source += make(match, pattern);
    at += match[0].length;
  }
  return source;
}

const context = createContext({});
const script = new Script('pattern.exec(name)');

export class PythonPattern {
  readonly #pattern: string;
  readonly #compiled: RegExp;

  constructor(pattern: string) {
    this.#pattern = pattern;
    if (pattern.length > longest) throw unserved(pattern, `has ${pattern.length} characters, and at most ${longest} are served`); // biome-ignore format: one row
    const [start, flags] = /^\(\?([aisu]+)\)/.exec(pattern) ?? ['', ''];
    const source = translated(pattern.slice(start.length));
    try {
      this.#compiled = new RegExp(`^(?:${source})$`, flags.includes('i') ? 'is' : 's');
    } catch (cause) {
      throw wrong(pattern, cause);
    }
  }

  /** The match of a whole name, as of re.fullmatch. Throws ModelcError 'unsupported' where that takes too long. */
  exec(name: string): RegExpExecArray | null {
    Object.assign(context, { pattern: this.#compiled, name });
    try {
      return script.runInContext(context, { timeout: mostMilliseconds }) as RegExpExecArray | null;
    } catch {
      throw unserved(this.#pattern, `takes too long to match ${quote(name)}`);
    }
  }

  test(name: string): boolean {
    return this.exec(name) !== null;
  }
}

const known = new Map<string, PythonPattern>();

/** A pattern that matches whole names. Throws ModelcError 'input' for one that is no pattern, 'unsupported' as above. */
export function pythonPattern(pattern: string): PythonPattern {
  const made = known.get(pattern) ?? new PythonPattern(pattern);
  if (known.size > 1000) known.clear();
  known.set(pattern, made);
  return made;
}

/** The key of `patterns` that matches the end of a name at a dot, as PEFT looks up ranks and alphas. */
export const patternFor = (patterns: Readonly<Record<string, unknown>>, name: string): string | undefined =>
  Object.keys(patterns).find((pattern) => pythonPattern(`(?:.*\\.)?(?:${pattern})`).test(name));
