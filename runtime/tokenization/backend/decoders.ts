// Decoders of a tokenizer.json: tokens to pieces of text, which are joined in the end.
import { fallbackByte, fromByteCharacters, fromUtf8, utf8 } from './characters.ts';
import type { Fields } from './fields.ts';
import { replaceAll } from './normalizers.ts';
import { prependScheme } from './pre-tokenizers.ts';

export type Decoder = (tokens: readonly string[]) => readonly string[];

type Maker = (fields: Fields) => Decoder;

const makers = {
  BPEDecoder: (fields) => {
    const suffix = fields.string('suffix', '</w>');
    return (tokens) => tokens.map((t, i) => t.replaceAll(suffix, () => (i === tokens.length - 1 ? '' : ' ')));
  },
  ByteFallback: () => byteFallback,
  ByteLevel: () => byteLevel,
  CTC: ctc,
  Fuse: () => (tokens) => [tokens.join('')],
  Metaspace: (fields) => {
    const mark = fields.character('replacement');
    const first = prependScheme(fields) === 'never' ? ' ' : '';
    return (tokens) => tokens.map((t, i) => t.replaceAll(mark, i === 0 ? first : ' '));
  },
  Replace: (fields) => {
    const replace = replaceAll(fields);
    return (tokens) => tokens.map(replace);
  },
  Sequence: (fields) => {
    const steps = fields.items('decoders').map(makeDecoder);
    return (tokens) => steps.reduce((t, step) => step(t), tokens);
  },
  Strip: strip,
  WordPiece: (fields) => {
    const prefix = fields.string('prefix', '##');
    const cleans = fields.boolean('cleanup', true);
    return (tokens) =>
      tokens.map((token, i) => {
        const text = i === 0 ? token : token.startsWith(prefix) ? token.slice(prefix.length) : ` ${token}`;
        return cleans ? cleanUp(text) : text;
      });
  },
} satisfies Record<string, Maker>;

const types = Object.keys(makers) as readonly (keyof typeof makers)[];

export function makeDecoder(fields: Fields): Decoder {
  const make: Maker = makers[fields.type('decoder', types)];
  return make(fields);
}

/** Whether a decoder is of the type, or has a part of it. */
export function hasDecoder(value: unknown, type: string): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return ('type' in value && value.type === type) || Object.values(value).some((part) => hasDecoder(part, type));
}

/** What transformers calls cleaning up: spaces before marks and endings go. */
export const cleanedUp = (text: string): string =>
  text
    .replaceAll(' .', '.')
    .replaceAll(' ?', '?')
    .replaceAll(' !', '!')
    .replaceAll(' ,', ',')
    .replaceAll(" ' ", "'")
    .replaceAll(" n't", "n't")
    .replaceAll(" 'm", "'m")
    .replaceAll(" 's", "'s")
    .replaceAll(" 've", "'ve")
    .replaceAll(" 're", "'re");

/** What a WordPiece decoder calls so. */
const cleanUp = (text: string): string => cleanedUp(text).replaceAll(' do not', " don't");

const byteLevel: Decoder = (tokens) => {
  const bytes: number[] = [];
  for (const token of tokens) for (const byte of fromByteCharacters(token) ?? utf8(token)) bytes.push(byte);
  return [fromUtf8(Uint8Array.from(bytes))];
};

/** Runs of bytes that are a text become it; others, a mark for each byte. */
const byteFallback: Decoder = (tokens) => {
  const out: string[] = [];
  let bytes: number[] = [];
  const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  const flush = (): void => {
    if (bytes.length === 0) return;
    try {
      out.push(strict.decode(Uint8Array.from(bytes)));
    } catch {
      for (const _ of bytes) out.push('\uFFFD');
    }
    bytes = [];
  };
  for (const token of tokens) {
    const byte = fallbackByte(token);
    if (byte !== undefined) {
      bytes.push(byte);
      continue;
    }
    flush();
    out.push(token);
  }
  flush();
  return out;
};

function ctc(fields: Fields): Decoder {
  const pad = fields.string('pad_token', '<pad>');
  const delimiter = fields.string('word_delimiter_token', '|');
  const cleans = fields.boolean('cleanup', true);
  return (tokens) =>
    tokens
      .filter((token, i) => i === 0 || token !== tokens[i - 1])
      .map((token) => {
        const text = pad === '' ? token : token.replaceAll(pad, '');
        return cleans ? cleanUp(text).replaceAll(delimiter, ' ') : text;
      })
      .filter((text) => text !== '');
}

function strip(fields: Fields): Decoder {
  const content = fields.character('content');
  const start = fields.integer('start');
  const stop = fields.integer('stop');
  return (tokens) =>
    tokens.map((token) => {
      const characters = Array.from(token);
      let begin = 0;
      while (begin < start && characters[begin] === content) begin++;
      let end = characters.length;
      while (characters.length - end < stop && characters[end - 1] === content) end--;
      return characters.slice(begin, end).join('');
    });
}
