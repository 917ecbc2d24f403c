// The grammar of the textual IR: tokens to a syntax tree. Meaning (ops, attributes, types, names) is index.ts's part.
import type { IToken, TokenType } from 'chevrotain';
import { EmbeddedActionsParser, EOF, tokenLabel } from 'chevrotain';
import * as T from './lexer.ts';

/** `2*batch*seq + past - 1`, a number, a word: a signed sum of products. */
export interface Sum {
  readonly kind: 'sum';
  readonly at: IToken;
  readonly terms: readonly { readonly negative: boolean; readonly factors: readonly IToken[] }[];
}
export interface Fields {
  readonly kind: 'fields';
  readonly at: IToken;
  readonly entries: readonly { readonly key: IToken; readonly value: Value }[];
}
/** An attribute value before its kind is known. */
export type Value =
  | Sum
  | Fields
  | { readonly kind: 'string'; readonly at: IToken }
  | { readonly kind: 'list'; readonly at: IToken; readonly items: readonly Value[] };

export interface TypeSyntax {
  readonly dtype: IToken;
  readonly shape: readonly Sum[];
}
export interface GraphSyntax {
  readonly name: IToken;
  readonly params: readonly {
    readonly value: IToken;
    readonly label: IToken | undefined;
    readonly kind: IToken;
    readonly role: Fields | undefined;
    readonly type: TypeSyntax;
  }[];
  readonly dims: readonly { readonly name: IToken; readonly min: IToken; readonly max: IToken }[];
  readonly statements: readonly {
    readonly value: IToken;
    readonly op: IToken;
    readonly args: readonly IToken[];
    readonly attrs: Fields | undefined;
    readonly type: TypeSyntax | undefined;
  }[];
  readonly results: readonly { readonly name: IToken; readonly value: IToken }[];
  readonly updates: readonly { readonly state: IToken; readonly value: IToken }[];
}

type Mutable<A> = A extends readonly (infer E)[] ? E[] : never;

const alternatives = (types: readonly TokenType[]): string => {
  const labels = [...new Set(types.map((t) => tokenLabel(t)))];
  return labels.length > 1 ? `${labels.slice(0, -1).join(', ')} or ${labels[labels.length - 1]}` : labels[0];
};

class GraphParser extends EmbeddedActionsParser {
  constructor() {
    super(T.tokenTypes, {
      maxLookahead: 2,
      recoveryEnabled: false,
      errorMessageProvider: {
        buildMismatchTokenMessage: ({ expected }) => `expected ${tokenLabel(expected)}`,
        buildNotAllInputParsedMessage: () => 'expected the end of the text',
        buildNoViableAltMessage: ({ expectedPathsPerAlt }) =>
          `expected ${alternatives(expectedPathsPerAlt.flatMap((paths) => paths.map((path) => path[0])))}`,
        buildEarlyExitMessage: ({ expectedIterationPaths }) =>
          `expected ${alternatives(expectedIterationPaths.map((path) => path[0]))}`,
      },
    });
    this.performSelfAnalysis();
  }

  graph = this.RULE('graph', (): GraphSyntax => {
    const params: Mutable<GraphSyntax['params']> = [];
    const dims: Mutable<GraphSyntax['dims']> = [];
    const statements: Mutable<GraphSyntax['statements']> = [];
    const results: Mutable<GraphSyntax['results']> = [];
    const updates: Mutable<GraphSyntax['updates']> = [];
    this.CONSUME(T.Graph);
    const name = this.SUBRULE(this.name);
    this.CONSUME(T.Open);
    this.MANY_SEP({
      SEP: T.Comma,
      DEF: () => {
        const value = this.CONSUME(T.Value);
        const label = this.OPTION(() => this.CONSUME(T.Text));
        this.CONSUME(T.Colon);
        const kind = this.CONSUME(T.Identifier);
        const role = this.OPTION4(() => this.SUBRULE2(this.fields));
        params.push({ value, label, kind, role, type: this.SUBRULE(this.type) });
      },
    });
    this.CONSUME(T.Close);
    this.OPTION2(() => {
      this.CONSUME(T.Where);
      this.AT_LEAST_ONE_SEP({
        SEP: T.Comma,
        DEF: () => {
          const variable = this.CONSUME2(T.Identifier);
          this.CONSUME(T.In);
          const min = this.CONSUME(T.Num);
          this.CONSUME(T.Range);
          dims.push({ name: variable, min, max: this.CONSUME2(T.Num) });
        },
      });
    });
    this.CONSUME(T.OpenFields);
    this.MANY(() => {
      statements.push(this.SUBRULE(this.statement));
    });
    this.CONSUME(T.Return, { ERR_MSG: "expected a statement (%name = ...) or 'return'" });
    this.MANY_SEP2({
      SEP: T.Comma,
      DEF: () => {
        const result = this.SUBRULE2(this.name);
        this.CONSUME(T.Equals);
        results.push({ name: result, value: this.CONSUME2(T.Value) });
      },
    });
    this.MANY2(() => {
      this.CONSUME(T.Update);
      const state = this.CONSUME3(T.Value);
      this.CONSUME2(T.Equals);
      updates.push({ state, value: this.CONSUME4(T.Value) });
    });
    this.CONSUME(T.CloseFields, { ERR_MSG: "expected 'update' or '}'" });
    return { name, params, dims, statements, results, updates };
  });

  private name = this.RULE(
    'name',
    (): IToken => this.OR([{ ALT: () => this.CONSUME(T.Identifier) }, { ALT: () => this.CONSUME(T.Text) }]),
  );

  private type = this.RULE('type', (): TypeSyntax => {
    const shape: Sum[] = [];
    const dtype = this.CONSUME(T.Identifier);
    this.CONSUME(T.OpenList);
    this.MANY_SEP({
      SEP: T.Comma,
      DEF: () => {
        shape.push(this.SUBRULE(this.sum));
      },
    });
    this.CONSUME(T.CloseList);
    return { dtype, shape };
  });

  private statement = this.RULE('statement', (): GraphSyntax['statements'][number] => {
    const args: IToken[] = [];
    const value = this.CONSUME(T.Value);
    this.CONSUME(T.Equals);
    const op = this.CONSUME(T.Identifier);
    this.CONSUME(T.Open);
    this.MANY_SEP({
      SEP: T.Comma,
      DEF: () => {
        args.push(this.CONSUME2(T.Value));
      },
    });
    this.CONSUME(T.Close);
    const attrs = this.OPTION(() => this.SUBRULE(this.fields));
    const type = this.OPTION2(() => {
      this.CONSUME(T.Colon);
      return this.SUBRULE(this.type);
    });
    return { value, op, args, attrs, type };
  });

  private fields = this.RULE('fields', (): Fields => {
    const entries: Mutable<Fields['entries']> = [];
    const at = this.CONSUME(T.OpenFields);
    this.MANY_SEP({
      SEP: T.Comma,
      DEF: () => {
        const key = this.CONSUME(T.Identifier);
        this.CONSUME(T.Colon);
        entries.push({ key, value: this.SUBRULE(this.value) });
      },
    });
    this.CONSUME(T.CloseFields);
    return { kind: 'fields', at, entries };
  });

  private value = this.RULE(
    'value',
    (): Value =>
      this.OR<Value>([
        { ALT: () => this.SUBRULE(this.fields) },
        { ALT: () => this.SUBRULE(this.list) },
        { ALT: () => ({ kind: 'string', at: this.CONSUME(T.Text) }) },
        { ALT: () => this.SUBRULE(this.sum) },
      ]),
  );

  private list = this.RULE('list', (): Value => {
    const items: Value[] = [];
    const at = this.CONSUME(T.OpenList);
    this.MANY_SEP({
      SEP: T.Comma,
      DEF: () => {
        items.push(this.SUBRULE(this.value));
      },
    });
    this.CONSUME(T.CloseList);
    return { kind: 'list', at, items };
  });

  private sum = this.RULE('sum', (): Sum => {
    const terms: Mutable<Sum['terms']> = [];
    const at = this.LA(1);
    let negative = this.OPTION(() => this.CONSUME(T.Minus)) !== undefined;
    terms.push({ negative, factors: this.SUBRULE(this.product) });
    this.MANY(() => {
      negative = this.OR([{ ALT: () => this.CONSUME(T.Plus) && false }, { ALT: () => this.CONSUME2(T.Minus) && true }]);
      terms.push({ negative, factors: this.SUBRULE2(this.product) });
    });
    return { kind: 'sum', at, terms };
  });

  private product = this.RULE('product', (): IToken[] => {
    const factors: IToken[] = [];
    this.AT_LEAST_ONE_SEP({
      SEP: T.Times,
      DEF: () => {
        factors.push(this.OR([{ ALT: () => this.CONSUME(T.Num) }, { ALT: () => this.CONSUME(T.Identifier) }]));
      },
    });
    return factors;
  });
}

const parser = new GraphParser();

/** The syntax tree of a text. Throws ModelcError 'parse' at the first token that does not fit. */
export function parseSyntax(text: string, file: string): GraphSyntax {
  const tokens = T.tokenize(text, file);
  parser.input = tokens;
  const syntax = parser.graph();
  const error = parser.errors[0];
  parser.input = []; // the parser outlives the call: let the tokens go
  if (!error) return syntax;
  if (error.token.tokenType !== EOF) {
    throw T.parseError(file, T.positionOf(error.token), `${error.message}, found '${T.excerpt(error.token.image)}'`);
  }
  const last = tokens[tokens.length - 1];
  const end = last ? { line: last.endLine ?? 1, column: (last.endColumn ?? 0) + 1 } : { line: 1, column: 1 };
  throw T.parseError(file, end, `${error.message}, found the end of the text`);
}
