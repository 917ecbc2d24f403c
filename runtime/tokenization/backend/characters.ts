// Classes of characters, as the Unicode tables of Rust have them, on which the tokenizers library is built.

/** `\w` of Rust's regex crate. */
export const wordClass = '\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}';

export const trimLeft = (text: string): string => text.replace(/^\p{White_Space}+/u, '');
/** From the end, because a pattern with `$` is tried at every run of spaces. */
export function trimRight(text: string): string {
  let end = text.length;
  while (end > 0 && isSpace(text.charCodeAt(end - 1))) end--;
  return text.slice(0, end);
}

/** Whether a UTF-16 unit is a space; all spaces are one unit. */
export const isSpace = (unit: number): boolean =>
  unit === 32 ||
  (unit >= 9 && unit <= 13) ||
  unit === 0x85 ||
  unit === 0xa0 ||
  unit === 0x1680 ||
  (unit >= 0x2000 && unit <= 0x200a) ||
  unit === 0x2028 ||
  unit === 0x2029 ||
  unit === 0x202f ||
  unit === 0x205f ||
  unit === 0x3000;

/** Lower case by character: no letter depends on its neighbours, as JavaScript's final sigma does. */
export const lowercase = (text: string): string => text.replaceAll('Σ', 'σ').toLowerCase();

const printable = (b: number): boolean => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;

/** GPT-2's printable stand-in for every byte. */
export const byteCharacters = ((): readonly string[] => {
  let next = 256;
  return Array.from({ length: 256 }, (_, b) => String.fromCharCode(printable(b) ? b : next++));
})();

const bytesOfCharacters: ReadonlyMap<string, number> = new Map(byteCharacters.map((c, b) => [c, b]));

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

/** A text's bytes, each as its stand-in. */
export function toByteCharacters(text: string): string {
  // Letters, digits and marks stand for themselves.
  if (/^[!-~]*$/.test(text)) return text;
  let out = '';
  for (const byte of encoder.encode(text)) out += byteCharacters[byte];
  return out;
}

/** The bytes that a token's characters stand for; undefined if one stands for none. */
export function fromByteCharacters(token: string): number[] | undefined {
  const bytes: number[] = [];
  for (const c of token) {
    const byte = bytesOfCharacters.get(c);
    if (byte === undefined) return undefined;
    bytes.push(byte);
  }
  return bytes;
}

/** The byte that a token such as `<0xE9>` stands for. */
export const fallbackByte = (token: string): number | undefined =>
  /^<0x[\da-fA-F]{2}>$/.test(token) ? Number.parseInt(token.slice(3, 5), 16) : undefined;

export const utf8 = (text: string): Uint8Array => encoder.encode(text);
export const fromUtf8 = (bytes: Uint8Array): string => decoder.decode(bytes);
