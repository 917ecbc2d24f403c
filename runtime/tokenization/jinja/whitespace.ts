// What Python takes for whitespace and for the ends of lines; JavaScript's \s differs in five characters.

/** For regular expressions: one character. */
export const whitespace = String.raw`[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]`;
const one = new RegExp(`^${whitespace}$`);

export const isSpace = (character: string): boolean => one.test(character);

/** Where a text ends without its last whitespace. */
export function endOfText(text: string): number {
  let end = text.length;
  while (end > 0 && isSpace(text[end - 1])) end--;
  return end;
}

/** Between words: what is no whitespace. */
export const wordPattern = (): RegExp => new RegExp(whitespace.replace('[', '[^').concat('+'), 'g');

const lineEnd = String.raw`\r\n|[\n-\r\x1c-\x1e\x85\u2028\u2029]`;
export const lineEnds = (): RegExp => new RegExp(lineEnd, 'g');
