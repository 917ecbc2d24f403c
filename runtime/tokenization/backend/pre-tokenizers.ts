// Pre-tokenizers of a tokenizer.json: what cuts a text into words, as a list of steps that cut pieces or change them.
import { toByteCharacters, wordClass } from './characters.ts';
import type { Fields } from './fields.ts';
import { type Finder, patternOf } from './pattern.ts';

export type Step =
  /** Begins and ends of what is kept of a piece. */
  | { readonly cut: (text: string) => readonly number[] }
  /** Another text; `isStart`: the piece begins where the whole text does. */
  | { readonly change: (text: string, isStart: boolean) => string };

type Maker = (fields: Fields) => readonly Step[];

const behaviors = ['Removed', 'Isolated', 'MergedWithPrevious', 'MergedWithNext', 'Contiguous'] as const;
type Behavior = (typeof behaviors)[number];

const punctuation = '\\p{P}\\u0021-\\u002F\\u003A-\\u0040\\u005B-\\u0060\\u007B-\\u007E';
const gptWords = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu; // biome-ignore format: one expression

const makers = {
  BertPreTokenizer: () => [
    splits(/\p{White_Space}/gu, 'Removed'),
    splits(new RegExp(`[${punctuation}]`, 'gu'), 'Isolated'),
  ],
  ByteLevel: (fields) => {
    const steps: Step[] = [];
    if (fields.boolean('add_prefix_space', true)) steps.push({ change: (text) => (/^ /.test(text) ? text : ` ${text}`) }); // biome-ignore format: one expression
    if (fields.boolean('use_regex', true)) steps.push(splits(gptWords, 'Isolated'));
    return [...steps, { change: toByteCharacters }];
  },
  CharDelimiterSplit: (fields) => {
    const delimiter = fields.character('delimiter');
    return [{ cut: pieces(allOf(delimiter), 'Removed', false) }];
  },
  Digits: (fields) => [splits(/\p{N}/gu, fields.boolean('individual_digits') ? 'Isolated' : 'Contiguous')],
  FixedLength: (fields) => fixedLength(fields.integer('length', 5, 1)),
  Metaspace: metaspace,
  Punctuation: (fields) => [
    splits(new RegExp(`[${punctuation}]`, 'gu'), fields.oneOf('behavior', behaviors, 'Isolated')),
  ],
  Sequence: (fields) => fields.items('pretokenizers').flatMap(makePreTokenizer),
  Split: (fields) => [
    { cut: pieces(patternOf(fields), fields.oneOf('behavior', behaviors), fields.boolean('invert', false)) },
  ],
  Whitespace: () => [splits(new RegExp(`[${wordClass}]+|[^${wordClass}\\p{White_Space}]+`, 'gu'), 'Removed', true)],
  WhitespaceSplit: () => [splits(/\p{White_Space}/gu, 'Removed')],
} satisfies Record<string, Maker>;

const types = Object.keys(makers) as readonly (keyof typeof makers)[];

export function makePreTokenizer(fields: Fields): readonly Step[] {
  const make: Maker = makers[fields.type('pre-tokenizer', types)];
  return make(fields);
}

/** The words of a text. */
export function preTokenize(steps: readonly Step[], text: string, isStart: boolean): string[] {
  let words = [text];
  let start = isStart;
  for (const step of steps) {
    if ('change' in step) {
      for (const [i, word] of words.entries()) words[i] = step.change(word, start && i === 0);
      continue;
    }
    const cut: string[] = [];
    for (const [i, word] of words.entries()) {
      const ranges = step.cut(word);
      if (i === 0) start &&= ranges[0] === 0;
      for (let j = 0; j < ranges.length; j += 2) cut.push(word.slice(ranges[j], ranges[j + 1]));
    }
    words = cut;
  }
  return words;
}

function splits(pattern: RegExp, behavior: Behavior, invert = false): Step {
  const find = (text: string): number[] => {
    const found: number[] = [];
    for (const match of text.matchAll(pattern)) found.push(match.index, match.index + match[0].length);
    return found;
  };
  return { cut: pieces(find, behavior, invert) };
}

const allOf =
  (character: string): Finder =>
  (text) => {
    const found: number[] = [];
    for (let at = text.indexOf(character); at >= 0; at = text.indexOf(character, at + character.length)) {
      found.push(at, at + character.length);
    }
    return found;
  };

/** A text in matches and what is between them; what becomes of matches is up to the behavior. */
function pieces(find: Finder, behavior: Behavior, invert: boolean): (text: string) => readonly number[] {
  return (text) => {
    const parts = partsOf(find(text), text.length, invert);
    const ranges = joined(parts, behavior);
    // Most often there are no empty pieces.
    for (let i = 0; i < ranges.length; i += 2) if (ranges[i] === ranges[i + 1]) return withoutEmpty(ranges);
    return ranges;
  };
}

interface Parts {
  readonly ranges: number[];
  readonly isMatch: boolean[];
}

function partsOf(found: readonly number[], length: number, invert: boolean): Parts {
  const ranges: number[] = [];
  const isMatch: boolean[] = [];
  const add = (begin: number, end: number, matches: boolean): void => {
    ranges.push(begin, end);
    isMatch.push(matches !== invert);
  };
  let end = 0;
  for (let i = 0; i < found.length; i += 2) {
    if (found[i] > end) add(end, found[i], false);
    add(found[i], found[i + 1], true);
    end = found[i + 1];
  }
  if (end < length) add(end, length, false);
  return { ranges, isMatch };
}

function joined({ ranges, isMatch }: Parts, behavior: Behavior): number[] {
  if (behavior === 'Isolated') return ranges;
  const out: number[] = [];
  for (const [i, matches] of isMatch.entries()) {
    const [begin, end] = [ranges[2 * i], ranges[2 * i + 1]];
    if (behavior === 'Removed') {
      if (!matches) out.push(begin, end);
      continue;
    }
    const joins =
      i > 0 &&
      (behavior === 'Contiguous'
        ? matches === isMatch[i - 1]
        : behavior === 'MergedWithPrevious'
          ? matches && !isMatch[i - 1]
          : isMatch[i - 1] && !matches);
    if (joins) out[out.length - 1] = end;
    else out.push(begin, end);
  }
  return out;
}

function withoutEmpty(ranges: readonly number[]): number[] {
  return ranges.filter((_, i) => ranges[i & ~1] !== ranges[i | 1]);
}

function fixedLength(length: number): readonly Step[] {
  const cut = (text: string): number[] => {
    const ranges: number[] = [];
    let begin = 0;
    let count = 0;
    let at = 0;
    for (const c of text) {
      at += c.length;
      if (++count < length) continue;
      ranges.push(begin, at);
      begin = at;
      count = 0;
    }
    if (begin < text.length) ranges.push(begin, text.length);
    return ranges;
  };
  return [{ cut }];
}

export type PrependScheme = 'always' | 'never' | 'first';

/** Older files say add_prefix_space. */
export function prependScheme(fields: Fields): PrependScheme {
  const scheme = fields.oneOf('prepend_scheme', ['always', 'never', 'first'], 'always');
  if (!fields.has('add_prefix_space') || fields.boolean('add_prefix_space') || scheme === 'never') return scheme;
  return fields.has('prepend_scheme') ? fields.fail('add_prefix_space', `true beside prepend_scheme '${scheme}'`) : 'never'; // biome-ignore format: one expression
}

function metaspace(fields: Fields): readonly Step[] {
  const mark = fields.character('replacement');
  const scheme = prependScheme(fields);
  const change = (given: string, isStart: boolean): string => {
    const text = given.replaceAll(' ', mark);
    const needs = scheme === 'always' || (scheme === 'first' && isStart);
    return needs && !text.startsWith(mark) ? mark + text : text;
  };
  const words: Step = { cut: pieces(allOf(mark), 'MergedWithNext', false) };
  return fields.boolean('split', true) ? [{ change }, words] : [{ change }];
}
