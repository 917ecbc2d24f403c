// The methods of Python's str that templates use.
import { bind, intArgument, textArgument } from './arguments.ts';
import { TemplateError } from './ast.ts';
import type { Budget } from './budget.ts';
import { braceFormat } from './format.ts';
import { characters, type Given, hasPairs, iterate, lengthOf, Tuple, typeName, type Value } from './values.ts';
import { isSpace, lineEnds, wordPattern } from './whitespace.ts';

type Method = (self: string, given: Given, budget: Budget) => Value;

/** Without the characters at its ends that `drop` names; whitespace where it names none. */
export function stripped(text: string, drop: string | undefined, sides: 'left' | 'right' | 'both'): string {
  const dropped = drop === undefined ? undefined : new Set(Array.from(drop));
  const list = dropped && hasPairs(text) ? Array.from(text) : text;
  const goes = (c: string): boolean => (dropped ? dropped.has(c) : isSpace(c));
  let [start, end] = [0, list.length];
  if (sides !== 'right') while (start < end && goes(list[start])) start++;
  if (sides !== 'left') while (end > start && goes(list[end - 1])) end--;
  const kept = list.slice(start, end);
  return typeof kept === 'string' ? kept : kept.join('');
}

/** Python's str.splitlines(). */
export function splitLines(text: string, keepEnds = false): string[] {
  const lines: string[] = [];
  let start = 0;
  for (const { 0: end, index } of text.matchAll(lineEnds())) {
    lines.push(text.slice(start, keepEnds ? index + end.length : index));
    start = index + end.length;
  }
  if (start < text.length) lines.push(text.slice(start));
  return lines;
}

/** Words between whitespace; the rest after `most` splits keeps its whitespace at the far end. */
function words(text: string, most: number, fromRight: boolean): string[] {
  const spans = Array.from(text.matchAll(wordPattern()), ({ 0: word, index }) => [index, index + word.length] as const);
  const all = spans.map(([start, end]) => text.slice(start, end));
  if (most < 0 || spans.length <= most) return all;
  const left = spans.length - most;
  return fromRight
    ? [text.slice(0, spans[left - 1][1]), ...all.slice(left)]
    : [...all.slice(0, most), text.slice(spans[most][0])];
}

function split(call: string, self: string, given: Given, budget: Budget): Value {
  const [sep, maxsplit] = bind(call, given, ['sep', 'maxsplit']);
  const most = intArgument(call, maxsplit, -1);
  budget.room(self.length);
  let parts: string[];
  if (sep === undefined || sep === null) parts = words(self, most, call === 'rsplit');
  else {
    const separator = textArgument(call, sep);
    if (separator === '') throw new TemplateError('empty separator');
    parts = self.split(separator);
    if (most >= 0 && parts.length > most + 1) {
      parts =
        call === 'split'
          ? [...parts.slice(0, most), parts.slice(most).join(separator)]
          : [parts.slice(0, parts.length - most).join(separator), ...parts.slice(parts.length - most)];
    }
  }
  budget.spend(parts.length);
  return parts;
}

/** str.replace; a count below 0 replaces all. */
export function replaced(self: string, old: string, fresh: string, count: number, budget: Budget): string {
  budget.room(self.length);
  if (old === '') {
    const list = characters(self);
    const most = count < 0 ? list.length + 1 : Math.min(count, list.length + 1);
    budget.spend(list.length);
    budget.room(self.length + most * fresh.length);
    const parts = list.map((c, i) => (i < most ? fresh + c : c));
    return parts.join('') + (most > list.length ? fresh : '');
  }
  const places: number[] = [];
  for (
    let at = self.indexOf(old);
    at >= 0 && (count < 0 || places.length < count);
    at = self.indexOf(old, at + old.length)
  ) {
    places.push(at);
  }
  budget.spend(places.length);
  budget.room(self.length + places.length * (fresh.length - old.length));
  let end = 0;
  let out = '';
  for (const at of places) {
    out += self.slice(end, at) + fresh;
    end = at + old.length;
  }
  return out + self.slice(end);
}

/** Whether a text begins or ends with one of the texts of an argument. */
function edge(call: 'startswith' | 'endswith'): Method {
  return (self, given, budget) => {
    const [argument, ...range] = bind(call, given, ['prefix', 'start', 'end'], 1);
    const within = part(self, range, call);
    const texts = argument instanceof Tuple ? argument.items : [argument];
    budget.spend(texts.length);
    return texts.some((item) => {
      const affix = textArgument(call, item);
      return call === 'startswith' ? within.startsWith(affix) : within.endsWith(affix);
    });
  };
}

/** The part of a text from its start to its end argument, which count characters, from the end where they are negative. */
function part(self: string, [start, end]: readonly (Value | undefined)[], call: string): string {
  if ((start ?? null) === null && (end ?? null) === null) return self;
  return characters(self)
    .slice(intArgument(call, start ?? undefined, 0), intArgument(call, end ?? undefined, Infinity))
    .join('');
}

function find(call: 'find' | 'rfind' | 'index' | 'rindex'): Method {
  return (self, given) => {
    const [argument, start, end] = bind(call, given, ['sub', 'start', 'end'], 1);
    const sub = textArgument(call, argument);
    const size = lengthOf(self);
    const from = intArgument(call, start ?? undefined, 0);
    const first = from < 0 ? Math.max(0, from + size) : from;
    const within = part(self, [start, end], call);
    const at = call.startsWith('r') ? within.lastIndexOf(sub) : within.indexOf(sub);
    if (at >= 0 && first <= size) return BigInt(first + lengthOf(within.slice(0, at)));
    if (call.endsWith('index')) throw new TemplateError('substring not found');
    return -1n;
  };
}

function partition(call: 'partition' | 'rpartition'): Method {
  return (self, given) => {
    const sep = textArgument(call, bind(call, given, ['sep'], 1)[0]);
    if (sep === '') throw new TemplateError('empty separator');
    const at = call === 'partition' ? self.indexOf(sep) : self.lastIndexOf(sep);
    if (at < 0) return new Tuple(call === 'partition' ? [self, '', ''] : ['', '', self]);
    return new Tuple([self.slice(0, at), sep, self.slice(at + sep.length)]);
  };
}

/** Pads a text to a width; center puts the odd character as Python does. */
export function justified(
  call: 'ljust' | 'rjust' | 'center',
  self: string,
  width: number,
  fill: string,
  budget: Budget,
): string {
  const missing = width - lengthOf(self);
  if (missing <= 0) return self;
  const left = call === 'rjust' ? missing : call === 'ljust' ? 0 : (missing >> 1) + (missing & width & 1);
  return budget.made(budget.repeat(fill, left) + self + budget.repeat(fill, missing - left));
}

function justify(call: 'ljust' | 'rjust' | 'center'): Method {
  return (self, given, budget) => {
    const [width, fill] = bind(call, given, ['width', 'fillchar'], 1);
    const character = fill === undefined ? ' ' : textArgument(call, fill);
    if (lengthOf(character) !== 1) throw new TemplateError('the fill character must be exactly one character long');
    return justified(call, self, intArgument(call, width, 0), character, budget);
  };
}

/** The first character as a title has it, such as Ss for ß, and the others small. */
export const capitalized = (text: string): string => {
  const [first = '', ...rest] = characters(text);
  const [initial = '', ...more] = characters(first.toUpperCase());
  return initial + more.join('').toLowerCase() + rest.join('').toLowerCase();
};

/** A method without arguments that changes a text. */
const changing =
  (call: string, change: (self: string) => string): Method =>
  (self, given, budget) => {
    bind(call, given, []);
    budget.room(self.length * 2);
    return change(self);
  };

/** A method that asks whether all characters are of a kind. */
const asking =
  (call: string, test: (self: string) => boolean): Method =>
  (self, given, budget) => {
    bind(call, given, []);
    budget.room(self.length);
    return self !== '' && test(self);
  };

const strip =
  (call: string, sides: 'left' | 'right' | 'both'): Method =>
  (self, given, budget) => {
    const [chars] = bind(call, given, ['chars']);
    budget.room(self.length);
    return stripped(self, chars === undefined || chars === null ? undefined : textArgument(call, chars), sides);
  };

const cased = (text: string): boolean => text.toLowerCase() !== text.toUpperCase();
const title = (text: string): string => text.replace(/\p{L}+/gu, (letters) => capitalized(letters));

export const stringMethods: ReadonlyMap<string, Method> = new Map<string, Method>([
  ['upper', changing('upper', (s) => s.toUpperCase())],
  ['lower', changing('lower', (s) => s.toLowerCase())],
  ['casefold', changing('casefold', (s) => s.toLowerCase().replaceAll('ß', 'ss').replaceAll('ς', 'σ'))],
  [
    'swapcase',
    changing('swapcase', (s) =>
      characters(s)
        .map((c) => (c === c.toLowerCase() ? c.toUpperCase() : c.toLowerCase()))
        .join(''),
    ),
  ],
  [
    'title',
    (self, given, budget) => {
      bind('title', given, []);
      budget.spend(2 * self.length);
      return title(self);
    },
  ],
  ['capitalize', changing('capitalize', capitalized)],
  ['strip', strip('strip', 'both')],
  ['lstrip', strip('lstrip', 'left')],
  ['rstrip', strip('rstrip', 'right')],
  ['split', (self, given, budget) => split('split', self, given, budget)],
  ['rsplit', (self, given, budget) => split('rsplit', self, given, budget)],
  [
    'splitlines',
    (self, given, budget) => {
      budget.room(self.length);
      const lines = splitLines(self, Boolean(bind('splitlines', given, ['keepends'])[0] ?? false));
      budget.spend(lines.length);
      return lines;
    },
  ],
  [
    'join',
    (self, given, budget) => {
      const [list] = bind('join', given, ['iterable'], 1);
      const parts = iterate(list ?? null, budget).map((item, i) => {
        if (typeof item === 'string') return item;
        throw new TemplateError(`sequence item ${i}: expected str instance, ${typeName(item)} found`);
      });
      return budget.join(parts, self);
    },
  ],
  [
    'replace',
    (self, given, budget) => {
      const [old, fresh, count] = bind('replace', given, ['old', 'new', 'count'], 2);
      return replaced(
        self,
        textArgument('replace', old),
        textArgument('replace', fresh),
        intArgument('replace', count, -1),
        budget,
      );
    },
  ],
  ['startswith', edge('startswith')],
  ['endswith', edge('endswith')],
  ['find', find('find')],
  ['rfind', find('rfind')],
  ['index', find('index')],
  ['rindex', find('rindex')],
  [
    'count',
    (self, given, budget) => {
      const [argument, ...range] = bind('count', given, ['sub', 'start', 'end'], 1);
      const sub = textArgument('count', argument);
      const within = part(self, range, 'count');
      budget.room(within.length);
      if (sub === '') return BigInt(lengthOf(within) + 1);
      let found = 0n;
      for (let at = within.indexOf(sub); at >= 0; at = within.indexOf(sub, at + sub.length)) found++;
      return found;
    },
  ],
  ['partition', partition('partition')],
  ['rpartition', partition('rpartition')],
  [
    'removeprefix',
    (self, given) => {
      const prefix = textArgument('removeprefix', bind('removeprefix', given, ['prefix'], 1)[0]);
      return self.startsWith(prefix) ? self.slice(prefix.length) : self;
    },
  ],
  [
    'removesuffix',
    (self, given) => {
      const suffix = textArgument('removesuffix', bind('removesuffix', given, ['suffix'], 1)[0]);
      return suffix !== '' && self.endsWith(suffix) ? self.slice(0, -suffix.length) : self;
    },
  ],
  ['ljust', justify('ljust')],
  ['rjust', justify('rjust')],
  ['center', justify('center')],
  [
    'zfill',
    (self, given, budget) => {
      const width = intArgument('zfill', bind('zfill', given, ['width'], 1)[0], 0);
      const sign = /^[+-]/.exec(self)?.[0] ?? '';
      return sign + budget.repeat('0', width - lengthOf(self)) + self.slice(sign.length);
    },
  ],
  ['format', braceFormat],
  ['isalpha', asking('isalpha', (s) => /^\p{L}+$/u.test(s))],
  ['isdigit', asking('isdigit', (s) => /^[\p{Nd}²³¹⁰-⁹₀-₉]+$/u.test(s))],
  ['isdecimal', asking('isdecimal', (s) => /^\p{Nd}+$/u.test(s))],
  ['isnumeric', asking('isnumeric', (s) => /^\p{N}+$/u.test(s))],
  ['isalnum', asking('isalnum', (s) => /^[\p{L}\p{N}]+$/u.test(s))],
  ['isascii', (self) => !/[^ -~\p{Cc}]/u.test(self) && !/[\u0080-\u009f]/.test(self)],
  ['isspace', asking('isspace', (s) => characters(s).every(isSpace))],
  ['isupper', asking('isupper', (s) => cased(s) && s === s.toUpperCase())],
  ['islower', asking('islower', (s) => cased(s) && s === s.toLowerCase())],
  ['istitle', asking('istitle', (s) => cased(s) && s === title(s))],
]);

/** What else Python's str has: a template that asks for it is told so. */
export const otherStringMethods = [
  'encode',
  'expandtabs',
  'format_map',
  'isidentifier',
  'isprintable',
  'maketrans',
  'translate',
];
