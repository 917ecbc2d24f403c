// The tokens of a Jinja template, under the settings of transformers: trim_blocks and lstrip_blocks. The rules for
// whitespace and newlines are those of Jinja's own lexer.
import { syntaxError } from './ast.ts';
import { endOfText, whitespace } from './whitespace.ts';

export type TokenKind = 'text' | 'name' | 'string' | 'integer' | 'float' | 'operator' | 'begin' | 'end' | 'eof';

export interface Token {
  readonly kind: TokenKind;
  /** Of a string the text that it means; of 'begin' and 'end' the brackets without signs. */
  readonly text: string;
  readonly line: number;
}

const opening = /\{%[-+]?|\{\{[-+]?|\{#[-+]?/g;
const rawBegin = new RegExp(String.raw`\{%([-+]?)${whitespace}*raw${whitespace}*(?:-%\}${whitespace}*|%\})`, 'y');
const rawEnd = new RegExp(
  String.raw`\{%([-+]?)${whitespace}*endraw${whitespace}*(?:\+%\}|-%\}${whitespace}*|%\}\n?)`,
  'g',
);
const commentEnd = new RegExp(String.raw`\+#\}|-#\}${whitespace}*|#\}\n?`, 'g');
const blockEnd = new RegExp(String.raw`\+%\}|-%\}${whitespace}*|%\}\n?`, 'y');
const outputEnd = new RegExp(String.raw`-\}\}${whitespace}*|\}\}`, 'y');
const space = new RegExp(`${whitespace}+`, 'y');
const float = /(?:\d+_)*\d+(?:(?:\.(?:\d+_)*\d+)?e[+-]?(?:\d+_)*\d+|\.(?:\d+_)*\d+)/iy;
const integer = /0b(?:_?[01])+|0o(?:_?[0-7])+|0x(?:_?[\da-f])+|[1-9](?:_?\d)*|0(?:_?0)*/iy;
const word = /[\p{L}\p{N}\p{M}\p{Pc}]+/uy;
const operator = /\/\/|\*\*|==|!=|>=|<=|[-+/*%~[\](){}><=.:|,;]/y;
const closers: Readonly<Record<string, string>> = { '(': ')', '[': ']', '{': '}' };

export function tokenize(template: string): Token[] {
  return new Lexer(template).tokens();
}

class Lexer {
  private readonly source: string;
  private at = 0;
  private line = 1;
  /** Whether the last thing read ended a line, so that what follows starts one. */
  private lineStarts = true;
  private readonly found: Token[] = [];

  constructor(template: string) {
    const source = template.replace(/\r\n?/g, '\n');
    this.source = source.endsWith('\n') ? source.slice(0, -1) : source;
  }

  tokens(): Token[] {
    while (this.at < this.source.length) {
      opening.lastIndex = this.at;
      const match = opening.exec(this.source);
      if (!match) {
        this.text(this.source.slice(this.at), '', false);
        break;
      }
      const [bracket] = match;
      rawBegin.lastIndex = match.index;
      const raw = rawBegin.exec(this.source);
      this.text(this.source.slice(this.at, match.index), raw?.[1] ?? bracket.slice(2), !bracket.startsWith('{{'));
      if (raw) this.raw(raw[0]);
      else if (bracket.startsWith('{#')) this.comment(bracket);
      else this.code(bracket);
    }
    this.push('eof', 'the end');
    return this.found;
  }

  private push(kind: TokenKind, text: string): void {
    this.found.push({ kind, text, line: this.line });
  }

  private advance(text: string): void {
    if (text === '') return;
    this.at += text.length;
    for (let i = text.indexOf('\n'); i >= 0; i = text.indexOf('\n', i + 1)) this.line++;
    this.lineStarts = text.endsWith('\n');
  }

  /** Text before a bracket whose sign is `sign`; blocks take the spaces before them on their line. */
  private text(text: string, sign: string, isBlock: boolean): void {
    let kept = text;
    if (sign === '-') kept = text.slice(0, endOfText(text));
    else if (sign !== '+' && isBlock) {
      const start = text.lastIndexOf('\n') + 1;
      if ((start > 0 || this.lineStarts) && endOfText(text) <= start) kept = text.slice(0, start);
    }
    if (kept !== '') this.push('text', kept);
    this.advance(text);
  }

  private comment(bracket: string): void {
    commentEnd.lastIndex = this.at + bracket.length;
    const end = commentEnd.exec(this.source);
    if (!end) throw syntaxError('a comment {# does not end', this.line);
    this.advance(this.source.slice(this.at, commentEnd.lastIndex));
  }

  private raw(begin: string): void {
    const { line } = this;
    this.advance(begin);
    rawEnd.lastIndex = this.at;
    const end = rawEnd.exec(this.source);
    if (!end) throw syntaxError('{% raw %} has no {% endraw %}', line);
    this.text(this.source.slice(this.at, end.index), end[1], true);
    this.advance(end[0]);
  }

  private code(bracket: string): void {
    this.push('begin', bracket.slice(0, 2));
    this.advance(bracket);
    const isOutput = bracket.startsWith('{{');
    const open: string[] = [];
    for (;;) {
      if (this.at >= this.source.length) throw syntaxError(`a ${bracket} does not end`, this.line);
      const end = open.length === 0 ? this.match(isOutput ? outputEnd : blockEnd) : undefined;
      if (end !== undefined) {
        this.push('end', isOutput ? '}}' : '%}');
        this.advance(end);
        return;
      }
      this.token(open);
    }
  }

  private match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.at;
    return pattern.exec(this.source)?.[0];
  }

  private token(open: string[]): void {
    const blank = this.match(space);
    if (blank !== undefined) {
      this.advance(blank);
      return;
    }
    const quote = this.source[this.at];
    if (quote === "'" || quote === '"') {
      const text = this.quoted(quote);
      this.push('string', unescaped(text.slice(1, -1), this.line));
      this.advance(text);
      return;
    }
    const afterPoint = this.source[this.at - 1] === '.';
    for (const [kind, pattern] of [
      ['float', float],
      ['integer', integer],
      ['name', word],
      ['operator', operator],
    ] as const) {
      if (kind === 'float' && afterPoint) continue;
      const text = this.match(pattern);
      if (text === undefined) continue;
      if (kind === 'operator') this.balance(text, open);
      this.push(kind, text);
      this.advance(text);
      return;
    }
    throw syntaxError(
      `unexpected character '${String.fromCodePoint(this.source.codePointAt(this.at) ?? 0)}'`,
      this.line,
    );
  }

  private balance(text: string, open: string[]): void {
    if (Object.hasOwn(closers, text)) open.push(closers[text]);
    else if (text === ')' || text === ']' || text === '}') {
      const expected = open.pop();
      if (expected === text) return;
      throw syntaxError(`unexpected '${text}'${expected === undefined ? '' : `, expected '${expected}'`}`, this.line);
    }
  }

  private quoted(quote: string): string {
    let end = this.at + 1;
    while (end < this.source.length && this.source[end] !== quote) end += this.source[end] === '\\' ? 2 : 1;
    if (end >= this.source.length) throw syntaxError('a string does not end', this.line);
    return this.source.slice(this.at, end + 1);
  }
}

const escapes: Readonly<Record<string, string>> = {
  n: '\n',
  t: '\t',
  r: '\r',
  a: '\x07',
  b: '\b',
  f: '\f',
  v: '\v',
  '\\': '\\',
  "'": "'",
  '"': '"',
  '\n': '',
};

/** A string literal's text with Python's escapes; those that Python does not know stay as they are. */
function unescaped(text: string, line: number): string {
  return text.replace(
    /\\(?:x([\da-fA-F]{2})|u([\da-fA-F]{4})|U([\da-fA-F]{8})|([0-7]{1,3})|(.))/gs,
    (whole, two?: string, four?: string, eight?: string, octal?: string, letter?: string) => {
      if (octal !== undefined) return String.fromCodePoint(Number.parseInt(octal, 8));
      const code = Number.parseInt(two ?? four ?? eight ?? '', 16);
      if (code <= 0x10ffff) return String.fromCodePoint(code);
      if (letter !== undefined && Object.hasOwn(escapes, letter)) return escapes[letter];
      if (letter === undefined || 'xuUN'.includes(letter)) throw syntaxError(`the escape ${whole} is not known`, line);
      return whole;
    },
  );
}
