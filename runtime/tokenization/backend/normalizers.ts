// Normalizers of a tokenizer.json: text to text.
import { isSpace, lowercase, toByteCharacters, trimLeft, trimRight } from './characters.ts';
import type { Fields } from './fields.ts';
import { patternOf } from './pattern.ts';
import { precompiled } from './precompiled.ts';

export type Normalizer = (text: string) => string;

type Maker = (fields: Fields) => Normalizer;

const makers = {
  BertNormalizer: bert,
  ByteLevel: () => toByteCharacters,
  Lowercase: () => lowercase,
  NFC: () => (text) => text.normalize('NFC'),
  NFD: () => (text) => text.normalize('NFD'),
  NFKC: () => (text) => text.normalize('NFKC'),
  NFKD: () => (text) => text.normalize('NFKD'),
  Nmt: () => nmt,
  Precompiled: (fields) => precompiled(fields),
  Prepend: (fields) => {
    const prefix = fields.string('prepend');
    return (text) => (text === '' ? '' : prefix + text);
  },
  Replace: (fields) => replaceAll(fields),
  Sequence: (fields) => {
    const steps = fields.items('normalizers').map(makeNormalizer);
    return (text) => steps.reduce((t, step) => step(t), text);
  },
  Strip: (fields) => {
    const left = fields.boolean('strip_left');
    const right = fields.boolean('strip_right');
    return (text) => {
      const rest = left ? trimLeft(text) : text;
      return right ? trimRight(rest) : rest;
    };
  },
  StripAccents: () => (text) => text.replace(/\p{M}/gu, ''),
} satisfies Record<string, Maker>;

const types = Object.keys(makers) as readonly (keyof typeof makers)[];

export function makeNormalizer(fields: Fields): Normalizer {
  const make: Maker = makers[fields.type('normalizer', types)];
  return make(fields);
}

/** Every match as the field `content`, literally. */
export function replaceAll(fields: Fields): Normalizer {
  const find = patternOf(fields);
  const content = fields.string('content');
  return (text) => {
    const found = find(text);
    if (found.length === 0) return text;
    let out = '';
    let end = 0;
    for (let i = 0; i < found.length; i += 2) {
      out += text.slice(end, found[i]) + content;
      end = found[i + 1];
    }
    return out + text.slice(end);
  };
}

/** What the normalizer Nmt drops, and what it turns into spaces. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what goes
const dropped = /[\u0001-\u0008\u000B\u000E-\u001F\u007F\u008F\u009F]/g;
const odd = /[\t\n\f\r\u1680\u200B-\u200F\u2028\u2029\u2581\uFEFF\uFFFD]/g;
const nmt: Normalizer = (text) => text.replace(dropped, '').replace(odd, ' ');

const chinese =
  /[\u4E00-\u9FFF\u3400-\u4DBF\u{20000}-\u{2A6DF}\u{2A700}-\u{2B73F}\u{2B740}-\u{2B81F}\u{2B920}-\u{2CEAF}\uF900-\uFAFF\u{2F800}-\u{2FA1F}]/gu;

function bert(fields: Fields): Normalizer {
  const clean = fields.boolean('clean_text', true);
  const handlesChinese = fields.boolean('handle_chinese_chars', true);
  const lower = fields.boolean('lowercase', true);
  const strip = fields.has('strip_accents') ? fields.boolean('strip_accents') : lower;
  return (given) => {
    let text = given;
    if (clean) {
      text = text.replace(/[\p{Cc}\p{Cf}\p{Co}\uFFFD]|\p{White_Space}/gu, (c) => (isSpace(c.charCodeAt(0)) ? keptSpace(c) : '')); // biome-ignore format: one expression
    }
    if (handlesChinese) text = text.replace(chinese, ' $& ');
    if (strip) text = text.normalize('NFD').replace(/\p{Mn}/gu, '');
    return lower ? lowercase(text) : text;
  };
}

/** Vertical tabs, form feeds and the like are control characters first. */
const keptSpace = (c: string): string => (/[\v\f\u0085]/.test(c) ? '' : ' ');
