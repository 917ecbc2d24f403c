// Tokens of the textual IR. Keywords are also identifiers, so a dim or a result may be called `in`.
import type { IToken, TokenType } from 'chevrotain';
import { createToken, Lexer } from 'chevrotain';
import { ModelcError } from '../../ir/error.ts';

export const Identifier = createToken({ name: 'Identifier', label: 'a name', pattern: /[a-zA-Z_][a-zA-Z0-9_]*/ });
const keyword = (word: string): TokenType =>
  createToken({
    name: `'${word}'`,
    label: `'${word}'`,
    pattern: new RegExp(word),
    longer_alt: Identifier,
    categories: Identifier,
  });
const sign = (name: string, text: string): TokenType => createToken({ name, label: `'${text}'`, pattern: text });

/** A JSON string, matched by hand: a regular expression would need a stack as deep as the string is long. */
function matchString(text: string, from: number): [string] | null {
  if (text[from] !== '"') return null;
  for (let i = from + 1; i < text.length; i++) {
    const c = text[i];
    if (c === '"') return [text.slice(from, i + 1)];
    if (c === '\n' || c === '\r') return null;
    if (c === '\\' && text[i + 1] !== '\n' && text[i + 1] !== '\r') i++;
  }
  return null;
}

export const Graph = keyword('graph');
export const Where = keyword('where');
export const In = keyword('in');
export const Return = keyword('return');
export const Update = keyword('update');
export const Value = createToken({ name: 'Value', label: 'a value (%name)', pattern: /%[a-zA-Z0-9_]+/ });
export const Text = createToken({
  name: 'Text',
  label: 'a string',
  pattern: { exec: matchString },
  line_breaks: false,
  start_chars_hint: ['"'],
});
/** A string without an end takes the rest of its line, so that its error is the only one. */
const OpenText = createToken({ name: 'OpenText', label: 'a string', pattern: /"[^\n\r]*/ });
export const Num = createToken({ name: 'Num', label: 'a number', pattern: /\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/ });
export const Range = sign('Range', '..');
export const Equals = sign('Equals', '=');
export const Comma = sign('Comma', ',');
export const Colon = sign('Colon', ':');
export const Plus = sign('Plus', '+');
export const Minus = sign('Minus', '-');
export const Times = sign('Times', '*');
export const Open = sign('Open', '(');
export const Close = sign('Close', ')');
export const OpenList = sign('OpenList', '[');
export const CloseList = sign('CloseList', ']');
export const OpenFields = sign('OpenFields', '{');
export const CloseFields = sign('CloseFields', '}');
const Space = createToken({ name: 'Space', pattern: /[ \t\r\n]+/, group: Lexer.SKIPPED, line_breaks: true });
const Comment = createToken({ name: 'Comment', pattern: /\/\/[^\n]*/, group: Lexer.SKIPPED });

export const tokenTypes: TokenType[] = [
  ...[
    Space,
    Comment,
    Graph,
    Where,
    In,
    Return,
    Update,
    Identifier,
    Value,
    Text,
    OpenText,
    Num,
    Range,
    Equals,
    Comma,
    Colon,
  ],
  ...[Plus, Minus, Times, Open, Close, OpenList, CloseList, OpenFields, CloseFields],
];

const lexer = new Lexer(tokenTypes, { positionTracking: 'full', ensureOptimizations: true });

/** Where something stands in the text, from 1. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

export const positionOf = (t: IToken): Position => ({ line: t.startLine ?? 1, column: t.startColumn ?? 1 });

export const parseError = (file: string, at: Position, message: string): ModelcError =>
  new ModelcError('parse', `${file}:${at.line}:${at.column}: ${message}`);

/** A piece of the text as messages show it: short, printable. */
export function excerpt(text: string): string {
  const printable = text.replace(/[^ -~]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
  return printable.length > 40 ? `${printable.slice(0, 40)}...` : printable;
}

const maxCharacters = 2 ** 27;
/** Lists within lists; the deepest attribute needs three. */
const maxDepth = 16;

/** Splits text into tokens. Throws ModelcError 'parse' with the position of what is no token, or is nested too deep. */
export function tokenize(text: string, file: string): IToken[] {
  if (text.length > maxCharacters) {
    throw parseError(file, { line: 1, column: 1 }, `the text has ${text.length} characters; at most ${maxCharacters}`);
  }
  const { tokens, errors } = lexer.tokenize(text);
  const open = tokens.find((t) => t.tokenType === OpenText);
  if (open && !errors.some((e) => e.offset < open.startOffset)) {
    throw parseError(file, positionOf(open), 'this string is not closed on its line');
  }
  if (errors.length > 0) {
    const { offset, line, column } = errors[0];
    const at = { line: line ?? 1, column: column ?? 1 };
    throw parseError(file, at, `expected a name, a number, a string or a sign, found '${excerpt(text[offset])}'`);
  }
  let depth = 0;
  for (const t of tokens) {
    if (t.tokenType === OpenList || t.tokenType === OpenFields) {
      if (++depth > maxDepth) throw parseError(file, positionOf(t), `brackets are nested deeper than ${maxDepth}`);
    } else if (t.tokenType === CloseList || t.tokenType === CloseFields) depth--;
  }
  return tokens;
}
