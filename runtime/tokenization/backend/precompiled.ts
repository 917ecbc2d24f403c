// The normalizer that SentencePiece compiles into a model: a double-array trie (as Darts writes it) of texts that others
// take the place of. Whole graphemes are looked up first, then their characters, as the tokenizers library does.
import { utf8 } from './characters.ts';
import type { Fields } from './fields.ts';

export function precompiled(fields: Fields): (text: string) => string {
  const bytes = fromBase64(fields);
  // The size of the trie in bytes, the trie, and the texts, each with a zero behind it.
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const size = bytes.length >= 4 ? view.getUint32(0, true) : Number.POSITIVE_INFINITY;
  if (size % 4 !== 0 || 4 + size > bytes.length) fields.fail('precompiled_charsmap', 'a compiled map of characters');
  const trie = Uint32Array.from({ length: size / 4 }, (_, i) => view.getUint32(4 + 4 * i, true));
  const texts = bytes.subarray(4 + size);
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  const known = new Map<string, string | undefined>();
  const lookUp = (text: string): string | undefined => {
    if (known.has(text)) return known.get(text);
    const at = firstPrefix(trie, utf8(text));
    const end = at === undefined ? -1 : texts.indexOf(0, at);
    const found = end < 0 ? undefined : decoder.decode(texts.subarray(at, end));
    if (known.size < cached) known.set(text, found);
    return found;
  };
  const replaced = (grapheme: string): string => {
    if (grapheme === '') return '';
    const whole = utf8(grapheme).length < 6 ? lookUp(grapheme) : undefined;
    return whole ?? Array.from(grapheme, (c) => lookUp(c) ?? c).join('');
  };
  const isPlain = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i)).every((c) => replaced(c) === c);
  return (text) => {
    let out = '';
    let end = 0;
    const add = (part: string): void => {
      if (part.length < 2) out += replaced(part);
      else for (const grapheme of graphemesOf(part)) out += replaced(grapheme);
    };
    for (const { 0: plain, index } of isPlain ? text.matchAll(plainText) : []) {
      add(text.slice(end, index));
      out += plain;
      end = index + plain.length;
    }
    add(text.slice(end));
    return out;
  };
}

/** Printable characters of ASCII are graphemes unless something follows that may join them. */
const plainText = /[ -~]+(?!\P{ASCII})/gu;

let made: Intl.Segmenter | undefined;
/** Made when it is needed: that takes longer than all the rest of a tokenizer. */
function segmenter(): Intl.Segmenter {
  made ??= new Intl.Segmenter(undefined, { granularity: 'grapheme' });
  return made;
}

/** In windows, because the segmenter's time grows with the square of the text; a window's last grapheme may go on. */
function* graphemesOf(text: string): Generator<string> {
  for (let begin = 0, size = 256; begin < text.length; ) {
    const window = text.slice(begin, begin + size);
    const isLast = begin + size >= text.length;
    let end = 0;
    for (const { segment, index } of segmenter().segment(window)) {
      if (!isLast && index + segment.length === window.length) break;
      yield segment;
      end = index + segment.length;
    }
    size = end === 0 ? 2 * size : 256;
    begin += end;
  }
}

const cached = 4096;

function fromBase64(fields: Fields): Uint8Array {
  const text = fields.string('precompiled_charsmap');
  try {
    return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  } catch {
    return fields.fail('precompiled_charsmap', 'base64');
  }
}

/** The value of the shortest text of the trie that `key` begins with. */
function firstPrefix(trie: Uint32Array, key: Uint8Array): number | undefined {
  const offset = (unit: number): number => (unit >>> 10) << ((unit & 0x200) >>> 6);
  let at = offset(trie[0] ?? 0);
  for (const byte of key) {
    if (byte === 0) return undefined;
    at ^= byte;
    const unit = trie[at];
    if (unit === undefined || (unit & 0x800000ff) >>> 0 !== byte) return undefined;
    at ^= offset(unit);
    if ((unit & 0x100) !== 0) return trie[at] === undefined ? undefined : trie[at] & 0x7fffffff;
  }
  return undefined;
}
