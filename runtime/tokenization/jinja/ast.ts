// The syntax tree of a Jinja template: what parser.ts makes and interpreter.ts walks.

/** A call's arguments, of a function, a filter or a test. */
export interface Arguments {
  readonly args: readonly Expression[];
  readonly kwargs: readonly (readonly [string, Expression])[];
  /** `*list` and `**dict`. */
  readonly rest?: Expression | undefined;
  readonly keywords?: Expression | undefined;
}

export type Expression =
  | { readonly kind: 'constant'; readonly value: null | boolean | bigint | number | string }
  | { readonly kind: 'name'; readonly name: string }
  | { readonly kind: 'list' | 'tuple' | 'concat'; readonly items: readonly Expression[] }
  | { readonly kind: 'dict'; readonly entries: readonly (readonly [Expression, Expression])[] }
  | { readonly kind: 'attribute'; readonly object: Expression; readonly name: string }
  | { readonly kind: 'item'; readonly object: Expression; readonly index: Expression }
  | { readonly kind: 'slice'; readonly parts: readonly (Expression | undefined)[] }
  | { readonly kind: 'call'; readonly callee: Expression; readonly with: Arguments }
  | {
      readonly kind: 'filter';
      /** undefined: the body of the block that the filter stands at. */
      readonly object: Expression | undefined;
      readonly name: string;
      readonly with: Arguments;
    }
  | { readonly kind: 'test'; readonly object: Expression; readonly name: string; readonly with: Arguments }
  | { readonly kind: 'not' | 'negative' | 'positive'; readonly object: Expression }
  | { readonly kind: 'and' | 'or'; readonly left: Expression; readonly right: Expression }
  | { readonly kind: 'operation'; readonly operator: string; readonly left: Expression; readonly right: Expression }
  | {
      readonly kind: 'comparison';
      readonly left: Expression;
      readonly rest: readonly (readonly [string, Expression])[];
    }
  | {
      readonly kind: 'condition';
      readonly test: Expression;
      readonly yes: Expression;
      readonly no: Expression | undefined;
    };

/** Where a value is stored: a name, a field of a namespace, or several of them. */
export type Target =
  | { readonly kind: 'name'; readonly name: string }
  | { readonly kind: 'field'; readonly object: string; readonly name: string }
  | { readonly kind: 'targets'; readonly items: readonly Target[] };

/** The parameters of a macro, with the defaults of the last ones. */
export interface Signature {
  readonly names: readonly string[];
  readonly defaults: readonly Expression[];
}

export type Statement = { readonly line: number } & (
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'output'; readonly value: Expression }
  | { readonly kind: 'set'; readonly target: Target; readonly value: Expression }
  | {
      readonly kind: 'setBlock';
      readonly target: Target;
      readonly filter: Expression | undefined;
      readonly body: readonly Statement[];
    }
  | {
      readonly kind: 'if';
      readonly test: Expression;
      readonly body: readonly Statement[];
      readonly otherwise: readonly Statement[];
    }
  | {
      readonly kind: 'for';
      readonly target: Target;
      readonly list: Expression;
      readonly test: Expression | undefined;
      readonly recursive: boolean;
      readonly body: readonly Statement[];
      readonly otherwise: readonly Statement[];
    }
  | {
      readonly kind: 'macro';
      readonly name: string;
      readonly signature: Signature;
      readonly body: readonly Statement[];
    }
  | {
      readonly kind: 'callBlock';
      readonly call: Expression;
      readonly signature: Signature;
      readonly body: readonly Statement[];
    }
  | { readonly kind: 'filterBlock'; readonly filter: Expression; readonly body: readonly Statement[] }
  | {
      readonly kind: 'with';
      readonly values: readonly (readonly [Target, Expression])[];
      readonly body: readonly Statement[];
    }
  | { readonly kind: 'generation'; readonly body: readonly Statement[] }
  | { readonly kind: 'break' | 'continue' }
);

/** What is wrong with a template, without its place; render.ts adds it. */
export class TemplateError extends Error {
  constructor(
    message: string,
    readonly kind: 'syntax' | 'runtime' | 'unsupported' | 'limit' = 'runtime',
    readonly line?: number,
  ) {
    super(message);
  }
}

/** A line of a template, where the template is at fault. */
export const syntaxError = (message: string, line: number): TemplateError => new TemplateError(message, 'syntax', line);

export const unsupported = (what: string): TemplateError => new TemplateError(what, 'unsupported');
