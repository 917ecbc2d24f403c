// Patterns of a tokenizer.json: a text, or a regular expression in Oniguruma's syntax, which oniguruma-to-es writes in
// JavaScript's. The file comes from anywhere, and a backtracking engine can take for ever on some patterns. So a pattern's
// syntax tree tells how the work grows with the text, and where that may be much, the matching runs under a time limit.
import type { Script } from 'node:vm';
import { toOnigurumaAst } from 'oniguruma-parser';
import { toRegExp } from 'oniguruma-to-es';
import { builtinInNode } from '../../../backends/node-modules.ts';
import { ModelcError } from '../../../ir/error.ts';
import { type Fields, shown } from './fields.ts';

/** Where a pattern is found in a text: begins and ends of matches, in order. */
export type Finder = (text: string) => number[];

/** The pattern of the field `pattern`, which is an object { String } or { Regex }. */
export function patternOf(fields: Fields, name = 'pattern'): Finder {
  const pattern = fields.within(name);
  if (pattern.has('Regex')) return regexFinder(pattern.string('Regex'), pattern);
  return textFinder(pattern.string('String'));
}

function textFinder(wanted: string): Finder {
  if (wanted === '') return () => [];
  return (text) => {
    const found: number[] = [];
    for (let at = text.indexOf(wanted); at >= 0; at = text.indexOf(wanted, at + wanted.length)) {
      found.push(at, at + wanted.length);
    }
    return found;
  };
}

/** Steps of matching that need no time limit: some tenths of a second. */
const stepLimit = 1e8;
/** Milliseconds for a text: what usual patterns take is a small part of it, on a busy machine, too. */
const timeLimit = (text: string): number => 500 + Math.ceil(text.length / 200);

export function regexFinder(source: string, fields: Fields): Finder {
  const { regex, degree } = compile(source, fields);
  const find = (text: string): number[] => {
    const found: number[] = [];
    for (const match of text.matchAll(regex)) found.push(match.index, match.index + match[0].length);
    return found;
  };
  const limited = underTimeLimit();
  if (degree === Number.POSITIVE_INFINITY && !limited) {
    fields.unsupported(`the regular expression ${shown(source)}, which can take for ever on some texts`);
  }
  return (text) => {
    // A match may begin everywhere, and from there each quantifier may end everywhere.
    if (!limited || text.length ** (degree + 1) <= stepLimit) return find(text);
    const found = limited(timeLimit(text), () => find(text));
    if (found) return found;
    throw new ModelcError(
      'unsupported',
      `${fields.file} has the regular expression ${shown(source)} at ${fields.path}, which takes too long on a text of ${text.length} characters`,
    );
  };
}

const sourceLimit = 1e4;

function compile(source: string, fields: Fields): { regex: RegExp; degree: number } {
  if (source.length > sourceLimit) {
    fields.unsupported(`a regular expression of ${source.length} characters at ${fields.path}`);
  }
  try {
    const degree = degreeOf(toOnigurumaAst(source) as Node);
    return { regex: withWords(source, toRegExp(source, { global: true, avoidSubclass: true })), degree };
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new ModelcError(
      'unsupported',
      `${fields.file} has the regular expression ${shown(source)} at ${fields.path}, which is not supported (${reason})`,
      { cause },
    );
  }
}

/** What oniguruma-to-es writes for `\\w`, and what Oniguruma means by it: outside of brackets, six numbers more. */
const written = '\\p{L}\\p{M}\\p{N}\\p{Pc}';
const meant = '\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}';

function withWords(source: string, regex: RegExp): RegExp {
  if (!/\\[wWbB]/.test(source) || source.includes(written)) return regex;
  const pattern = regex.source
    .replaceAll(`[${written}]`, `[${meant}²³¹¼-¾]`)
    .replaceAll(`[^${written}]`, `[^${meant}²³¹¼-¾]`)
    .replaceAll(written, meant);
  return new RegExp(pattern, regex.flags);
}

/** What is read of a syntax tree. */
interface Node {
  readonly type: string;
  readonly body?: Node | readonly Node[];
  readonly min?: number;
  readonly max?: number | null;
}

const childrenOf = ({ body }: Node): readonly Node[] =>
  body === undefined ? [] : Array.isArray(body) ? (body as readonly Node[]) : [body as Node];

/** Repetitions up to which a quantifier is a fixed piece of text. */
const few = 4;

/** How many quantifiers of one way through the pattern can each end anywhere; infinity where they repeat one another. */
function degreeOf(node: Node): number {
  if (/^(?:Backreference|Subroutine)$/.test(node.type)) return Number.POSITIVE_INFINITY;
  if (node.type.startsWith('CharacterClass')) return 0;
  const children = childrenOf(node).map(degreeOf);
  // Alternatives are tried one after the other; the parts of one stand behind each other.
  if (node.type === 'Alternative' || node.type === 'Pattern') return sum(children, node);
  if (node.type !== 'Quantifier') return Math.max(0, ...children);
  const most = node.max ?? Number.POSITIVE_INFINITY;
  const inner = Math.max(0, ...children);
  if (most <= 1) return inner;
  if (childrenOf(node).some(isVariable)) return Number.POSITIVE_INFINITY;
  return most > few && most !== node.min ? inner + 1 : inner;
}

const sum = (values: readonly number[], { type }: Node): number =>
  type === 'Pattern' ? Math.max(0, ...values) : values.reduce((a, b) => a + b, 0);

/** Whether a node can match one text in several ways or lengths. */
function isVariable(node: Node): boolean {
  if (node.type.startsWith('CharacterClass')) return false;
  if (node.type === 'Quantifier' && node.min !== node.max) return true;
  const children = childrenOf(node);
  const isChoice = children.length > 1 && children.every(({ type }) => type === 'Alternative');
  return isChoice || children.some(isVariable);
}

/** A value that stays reachable for the script of the time limit. */
const slot: unique symbol = Symbol.for('modelc.limited');
let script: Script | undefined;

/**
 * Runs work and ends it after some time: Node's vm interrupts even one match of a regular expression. undefined where
 * there is no such thing; the function gives undefined for work that was ended.
 */
function underTimeLimit(): (<T>(timeout: number, work: () => T) => T | undefined) | undefined {
  // Deno has the module, but not the interruption.
  const vm = 'Deno' in globalThis ? undefined : builtinInNode<typeof import('node:vm')>('vm');
  if (!vm) return undefined;
  script ??= new vm.Script(`globalThis[Symbol.for('modelc.limited')]()`);
  return <T>(timeout: number, work: () => T): T | undefined => {
    let result: T | undefined;
    const holder = globalThis as { [slot]?: () => void };
    holder[slot] = () => {
      result = work();
    };
    try {
      script?.runInThisContext({ timeout });
      return result;
    } catch (cause) {
      if (cause instanceof Error && 'code' in cause && cause.code === 'ERR_SCRIPT_EXECUTION_TIMEOUT') return undefined;
      throw cause;
    } finally {
      delete holder[slot];
    }
  };
}
