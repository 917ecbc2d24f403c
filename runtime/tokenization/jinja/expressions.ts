// Expressions of Jinja templates: the part of the parser below statements. Its levels are those of Jinja's own parser.
import { type Arguments, type Expression, syntaxError } from './ast.ts';
import type { Token, TokenKind } from './lexer.ts';

/** Brackets and blocks that may stand in one another. */
const maxDepth = 100;

interface TupleOptions {
  /** false: no `a if b else c`, because the word if means something else here. */
  readonly conditions?: boolean;
  /** Only names and their fields: what values are assigned to. */
  readonly primary?: boolean;
  /** Words that end the tuple. */
  readonly ends?: readonly string[];
  readonly parentheses?: boolean;
}

const constants = new Map<string, null | boolean>([
  ['true', true],
  ['True', true],
  ['false', false],
  ['False', false],
  ['none', null],
  ['None', null],
]);
const comparisons = ['==', '!=', '<', '<=', '>', '>='];
const noArguments: Arguments = { args: [], kwargs: [] };

export class ExpressionParser {
  private at = 0;
  private depth = 0;

  constructor(private readonly tokens: readonly Token[]) {}

  protected get current(): Token {
    return this.tokens[this.at];
  }
  protected next(): Token {
    const token = this.tokens[this.at];
    if (token.kind !== 'eof') this.at++;
    return token;
  }
  private is(kind: TokenKind, text: string): boolean {
    return this.current.kind === kind && this.current.text === text;
  }
  protected isOperator(text: string): boolean {
    return this.is('operator', text);
  }
  protected skipOperator(text: string): boolean {
    return this.isOperator(text) && this.next() !== undefined;
  }
  protected skipName(text: string): boolean {
    return this.is('name', text) && this.next() !== undefined;
  }
  protected expect(kind: TokenKind): Token {
    if (this.current.kind === kind) return this.next();
    throw this.unexpected(kind === 'end' ? 'the end of the tag' : `a ${kind}`);
  }
  protected expectOperator(text: string): void {
    if (!this.skipOperator(text)) throw this.unexpected(`'${text}'`);
  }
  protected expectName(text: string): void {
    if (!this.skipName(text)) throw this.unexpected(`'${text}'`);
  }
  private unexpected(expected: string): Error {
    const { text, line } = this.current;
    return syntaxError(`expected ${expected}, got '${text.slice(0, 40)}'`, line);
  }

  /** What a function parses, one level deeper. */
  protected nested<T>(parse: () => T): T {
    if (++this.depth > maxDepth) {
      throw syntaxError(`more than ${maxDepth} brackets and blocks stand in one another`, this.current.line);
    }
    const parsed = parse();
    this.depth--;
    return parsed;
  }

  expression(conditions = true): Expression {
    return this.nested(() => (conditions ? this.condition() : this.or()));
  }

  /** An expression, or several with commas between them. */
  tuple({ conditions = true, primary = false, ends = [], parentheses = false }: TupleOptions = {}): Expression {
    const items: Expression[] = [];
    let isTuple = false;
    const ended = (): boolean =>
      this.current.kind === 'end' ||
      this.isOperator(')') ||
      (this.current.kind === 'name' && ends.includes(this.current.text));
    for (;;) {
      if (items.length > 0) this.expectOperator(',');
      if (ended()) break;
      items.push(primary ? this.assignable() : this.expression(conditions));
      if (!this.isOperator(',')) break;
      isTuple = true;
    }
    if (isTuple || (items.length === 0 && parentheses)) return { kind: 'tuple', items };
    if (items.length === 0) throw this.unexpected('an expression');
    return items[0];
  }

  private assignable(): Expression {
    const object = this.nested(() => this.primary());
    if (object.kind !== 'name' || !this.skipOperator('.')) return object;
    return { kind: 'attribute', object, name: this.expect('name').text };
  }

  private condition(): Expression {
    let yes = this.or();
    while (this.skipName('if')) {
      const test = this.or();
      const no = this.skipName('else') ? this.nested(() => this.condition()) : undefined;
      yes = { kind: 'condition', test, yes, no };
    }
    return yes;
  }

  private or(): Expression {
    let left = this.and();
    while (this.skipName('or')) left = { kind: 'or', left, right: this.and() };
    return left;
  }

  private and(): Expression {
    let left = this.not();
    while (this.skipName('and')) left = { kind: 'and', left, right: this.not() };
    return left;
  }

  private not(): Expression {
    if (!this.skipName('not')) return this.comparison();
    return { kind: 'not', object: this.nested(() => this.not()) };
  }

  private comparison(): Expression {
    const left = this.sum();
    const rest: [string, Expression][] = [];
    for (;;) {
      const { kind, text } = this.current;
      if (kind === 'operator' && comparisons.includes(text)) {
        this.next();
        rest.push([text, this.sum()]);
      } else if (this.skipName('in')) rest.push(['in', this.sum()]);
      else if (
        this.is('name', 'not') &&
        this.tokens[this.at + 1].kind === 'name' &&
        this.tokens[this.at + 1].text === 'in'
      ) {
        this.at += 2;
        rest.push(['not in', this.sum()]);
      } else return rest.length === 0 ? left : { kind: 'comparison', left, rest };
    }
  }

  private operations(operators: readonly string[], operand: () => Expression): Expression {
    let left = operand();
    while (this.current.kind === 'operator' && operators.includes(this.current.text)) {
      left = { kind: 'operation', operator: this.next().text, left, right: operand() };
    }
    return left;
  }

  private sum(): Expression {
    return this.operations(['+', '-'], () => this.concat());
  }

  private concat(): Expression {
    const items = [this.product()];
    while (this.skipOperator('~')) items.push(this.product());
    return items.length === 1 ? items[0] : { kind: 'concat', items };
  }

  private product(): Expression {
    return this.operations(['*', '/', '//', '%'], () => this.operations(['**'], () => this.unary()));
  }

  private unary(filters = true): Expression {
    const sign = this.isOperator('-') ? 'negative' : this.isOperator('+') ? 'positive' : undefined;
    if (sign) this.next();
    const value: Expression = sign ? { kind: sign, object: this.nested(() => this.unary(false)) } : this.primary();
    const object = this.postfix(value);
    return filters ? (this.filters(object) ?? object) : object;
  }

  private primary(): Expression {
    const { kind, text, line } = this.next();
    switch (kind) {
      case 'name': {
        const value = constants.get(text);
        return value === undefined ? { kind: 'name', name: text } : { kind: 'constant', value };
      }
      case 'string': {
        let value = text;
        while (this.current.kind === 'string') value += this.next().text;
        return { kind: 'constant', value };
      }
      case 'integer':
        return { kind: 'constant', value: BigInt(text.replaceAll('_', '')) };
      case 'float':
        return { kind: 'constant', value: Number(text.replaceAll('_', '')) };
      case 'operator':
        if (text === '(') {
          const inner = this.tuple({ parentheses: true });
          this.expectOperator(')');
          return inner;
        }
        if (text === '[') return { kind: 'list', items: this.items(']', () => this.expression()) };
        if (text === '{') {
          const entry = (): [Expression, Expression] => {
            const key = this.expression();
            this.expectOperator(':');
            return [key, this.expression()];
          };
          return { kind: 'dict', entries: this.items('}', entry) };
        }
    }
    throw syntaxError(`unexpected '${text.slice(0, 40)}'`, line);
  }

  private items<T>(end: string, item: () => T): T[] {
    const items: T[] = [];
    while (!this.isOperator(end)) {
      if (items.length > 0) this.expectOperator(',');
      if (this.isOperator(end)) break;
      items.push(item());
    }
    this.expectOperator(end);
    return items;
  }

  private postfix(start: Expression): Expression {
    let object = start;
    for (;;) {
      if (this.skipOperator('.')) object = this.member(object);
      else if (this.skipOperator('[')) object = { kind: 'item', object, index: this.index() };
      else if (this.isOperator('(')) object = { kind: 'call', callee: object, with: this.arguments() };
      else return object;
    }
  }

  private member(object: Expression): Expression {
    const { kind, text, line } = this.next();
    if (kind === 'name') return { kind: 'attribute', object, name: text };
    if (kind === 'integer') return { kind: 'item', object, index: { kind: 'constant', value: BigInt(text) } };
    throw syntaxError(`expected a name after '.', got '${text.slice(0, 40)}'`, line);
  }

  private index(): Expression {
    const items: Expression[] = [this.sliceOrItem()];
    while (this.skipOperator(',')) items.push(this.sliceOrItem());
    this.expectOperator(']');
    return items.length === 1 ? items[0] : { kind: 'tuple', items };
  }

  private sliceOrItem(): Expression {
    const first = this.isOperator(':') ? undefined : this.expression();
    if (!this.isOperator(':')) {
      if (first) return first;
      throw this.unexpected('an index');
    }
    const parts: (Expression | undefined)[] = [first];
    while (parts.length < 3 && this.skipOperator(':')) {
      const ends = this.isOperator(':') || this.isOperator(']') || this.isOperator(',');
      parts.push(ends ? undefined : this.expression());
    }
    return { kind: 'slice', parts };
  }

  private arguments(): Arguments {
    const { line } = this.current;
    this.expectOperator('(');
    const args: Expression[] = [];
    const kwargs: [string, Expression][] = [];
    let rest: Expression | undefined;
    let keywords: Expression | undefined;
    let count = 0;
    while (!this.isOperator(')')) {
      if (count++ > 0) this.expectOperator(',');
      if (this.isOperator(')')) break;
      const following = this.tokens[this.at + 1];
      const isKeyword = this.current.kind === 'name' && following.kind === 'operator' && following.text === '=';
      const fine = keywords === undefined && (isKeyword || rest === undefined);
      if (this.skipOperator('*')) {
        if (!fine) throw syntaxError('invalid arguments of a call', line);
        rest = this.expression();
      } else if (this.skipOperator('**')) {
        if (keywords) throw syntaxError('invalid arguments of a call', line);
        keywords = this.expression();
      } else if (isKeyword) {
        if (!fine) throw syntaxError('invalid arguments of a call', line);
        const name = this.next().text;
        this.next();
        kwargs.push([name, this.expression()]);
      } else {
        if (!fine || kwargs.length > 0) throw syntaxError('a positional argument follows a named one', line);
        args.push(this.expression());
      }
    }
    this.next();
    return { args, kwargs, rest, keywords };
  }

  private dottedName(): string {
    let name = this.expect('name').text;
    while (this.skipOperator('.')) name += `.${this.expect('name').text}`;
    return name;
  }

  /** `object` with the filters, tests and calls after it; undefined where there is neither. */
  protected filters(object: Expression | undefined, startsInline = false): Expression | undefined {
    let value = object;
    for (let inline = startsInline; ; inline = false) {
      if (inline || this.skipOperator('|')) {
        const name = this.dottedName();
        value = { kind: 'filter', object: value, name, with: this.isOperator('(') ? this.arguments() : noArguments };
      } else if (value && object && this.skipName('is')) value = this.test(value);
      else if (value && object && this.isOperator('(')) {
        value = { kind: 'call', callee: value, with: this.arguments() };
      } else return value;
    }
  }

  private test(object: Expression): Expression {
    const negated = this.skipName('not');
    const name = this.dottedName();
    let args = noArguments;
    const { kind, text, line } = this.current;
    if (this.isOperator('(')) args = this.arguments();
    else if (
      (kind === 'name' && !['else', 'or', 'and'].includes(text)) ||
      ['string', 'integer', 'float'].includes(kind) ||
      (kind === 'operator' && (text === '[' || text === '{'))
    ) {
      if (text === 'is' && kind === 'name') throw syntaxError('tests cannot be chained with `is`', line);
      args = { args: [this.postfix(this.nested(() => this.primary()))], kwargs: [] };
    }
    const test: Expression = { kind: 'test', object, name, with: args };
    return negated ? { kind: 'not', object: test } : test;
  }
}
