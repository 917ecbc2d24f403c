// From the text of a Jinja template to its syntax tree, by the grammar of Jinja's own parser.
import { type Signature, type Statement, syntaxError, type Target, unsupported } from './ast.ts';
import { ExpressionParser } from './expressions.ts';
import { tokenize } from './lexer.ts';

export function parse(template: string): readonly Statement[] {
  return new Parser(tokenize(template)).template();
}

/** Tags that need other templates or change how text is escaped. */
const unserved = ['extends', 'block', 'include', 'import', 'from', 'autoescape'];

class Parser extends ExpressionParser {
  /** Loops around what is parsed; break and continue need one. */
  private loops = 0;

  template(): readonly Statement[] {
    return this.statements();
  }

  /** Statements up to one of the tags `ends`, whose name is taken, too; or up to the end of the template. */
  private statements(...ends: string[]): Statement[] {
    return this.nested(() => {
      const body: Statement[] = [];
      for (;;) {
        const { kind, text, line } = this.current;
        if (kind === 'eof') {
          if (ends.length === 0) return body;
          throw syntaxError(`the template ends, but {% ${ends.join(' %} or {% ')} %} is expected`, line);
        }
        this.next();
        if (kind === 'text') body.push({ kind: 'text', text, line });
        else if (text === '{{') {
          body.push({ kind: 'output', value: this.tuple(), line });
          this.expect('end');
        } else {
          const tag = this.expect('name').text;
          if (ends.includes(tag)) {
            this.ended = tag;
            return body;
          }
          body.push(this.statement(tag, line));
        }
      }
    });
  }
  private ended = '';

  /** The body of a block after the end of its first tag, and its last tag. */
  private block(end: string): Statement[] {
    this.expect('end');
    const body = this.statements(end);
    this.expect('end');
    return body;
  }

  private statement(tag: string, line: number): Statement {
    switch (tag) {
      case 'set':
        return this.set(line);
      case 'if': {
        const parsed = this.if(line);
        this.expect('end');
        return parsed;
      }
      case 'for':
        return this.for(line);
      case 'macro': {
        const name = this.expect('name').text;
        const signature = this.signature();
        return { kind: 'macro', name, signature, body: this.outsideLoops(() => this.block('endmacro')), line };
      }
      case 'call': {
        const signature = this.isOperator('(') ? this.signature() : { names: [], defaults: [] };
        const call = this.expression();
        if (call.kind !== 'call') throw syntaxError('{% call %} needs a call', line);
        return { kind: 'callBlock', call, signature, body: this.outsideLoops(() => this.block('endcall')), line };
      }
      case 'filter': {
        const filter = this.filters(undefined, true);
        if (!filter) throw syntaxError('{% filter %} needs the name of a filter', line);
        return { kind: 'filterBlock', filter, body: this.block('endfilter'), line };
      }
      case 'with':
        return this.with(line);
      case 'generation':
        return { kind: 'generation', body: this.outsideLoops(() => this.block('endgeneration')), line };
      case 'print': {
        const items = [this.expression()];
        while (this.skipOperator(',')) items.push(this.expression());
        this.expect('end');
        return { kind: 'output', value: items.length === 1 ? items[0] : { kind: 'concat', items }, line };
      }
      case 'break':
      case 'continue':
        if (this.loops === 0) throw syntaxError(`{% ${tag} %} stands outside of a loop`, line);
        this.expect('end');
        return { kind: tag, line };
      default:
        if (unserved.includes(tag)) throw unsupported(`the tag {% ${tag} %}`);
        throw syntaxError(`unknown tag '${tag}'`, line);
    }
  }

  private outsideLoops<T>(parse: () => T): T {
    const { loops } = this;
    this.loops = 0;
    const parsed = parse();
    this.loops = loops;
    return parsed;
  }

  private set(line: number): Statement {
    const target = this.target(true);
    if (this.skipOperator('=')) {
      const value = this.tuple();
      this.expect('end');
      return { kind: 'set', target, value, line };
    }
    const filter = this.filters(undefined);
    return { kind: 'setBlock', target, filter, body: this.block('endset'), line };
  }

  private if(line: number): Statement {
    const test = this.tuple({ conditions: false });
    this.expect('end');
    const body = this.statements('elif', 'else', 'endif');
    let otherwise: readonly Statement[] = [];
    if (this.ended === 'elif') otherwise = [this.nested(() => this.if(this.current.line))];
    else if (this.ended === 'else') {
      this.expect('end');
      otherwise = this.statements('endif');
    }
    return { kind: 'if', test, body, otherwise, line };
  }

  private for(line: number): Statement {
    const target = this.target(false, ['in']);
    this.expectName('in');
    const list = this.tuple({ conditions: false, ends: ['recursive'] });
    const test = this.skipName('if') ? this.expression() : undefined;
    const recursive = this.skipName('recursive');
    this.expect('end');
    this.loops++;
    const body = this.statements('else', 'endfor');
    this.loops--;
    let otherwise: readonly Statement[] = [];
    if (this.ended === 'else') {
      this.expect('end');
      otherwise = this.statements('endfor');
    }
    this.expect('end');
    return { kind: 'for', target, list, test, recursive, body, otherwise, line };
  }

  private with(line: number): Statement {
    const values: [Target, ReturnType<Parser['expression']>][] = [];
    while (this.current.kind !== 'end') {
      if (values.length > 0) this.expectOperator(',');
      const target = this.target(false);
      this.expectOperator('=');
      values.push([target, this.expression()]);
    }
    return { kind: 'with', values, body: this.block('endwith'), line };
  }

  private signature(): Signature {
    const names: string[] = [];
    const defaults: ReturnType<Parser['expression']>[] = [];
    this.expectOperator('(');
    while (!this.isOperator(')')) {
      if (names.length > 0) this.expectOperator(',');
      const { text, line } = this.expect('name');
      names.push(text);
      if (this.skipOperator('=')) defaults.push(this.expression());
      else if (defaults.length > 0)
        throw syntaxError(`the parameter ${text} needs a default, as those before it`, line);
    }
    this.next();
    return { names, defaults };
  }

  private target(fields: boolean, ends: readonly string[] = []): Target {
    const { line } = this.current;
    return targetOf(this.tuple({ conditions: false, primary: true, ends }), fields, line);
  }
}

function targetOf(parsed: ReturnType<Parser['expression']>, fields: boolean, line: number): Target {
  if (parsed.kind === 'name') return parsed;
  if (parsed.kind === 'attribute' && fields && parsed.object.kind === 'name') {
    return { kind: 'field', object: parsed.object.name, name: parsed.name };
  }
  if (parsed.kind === 'tuple' || parsed.kind === 'list') {
    return { kind: 'targets', items: parsed.items.map((item) => targetOf(item, fields, line)) };
  }
  throw syntaxError('nothing can be assigned to this; a name is needed', line);
}
