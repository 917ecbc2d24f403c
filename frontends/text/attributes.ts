// Attribute values: syntax to plain data, led by the kinds of the op's attributes. Nothing passes that they do not name.
import type { IToken } from 'chevrotain';
import type { Dim } from '../../ir/dim.ts';
import { dim, dimAdd, dimMul } from '../../ir/dim.ts';
import { dtypes, isDType } from '../../ir/dtype.ts';
import { ModelcError } from '../../ir/error.ts';
import type { OpName } from '../../ir/node.ts';
import { type AttrKind, type AttrKinds, variantFields } from '../../ir/ops/attr-kinds.ts';
import { kindsOf, type StateRole } from '../../ir/ops/attrs.ts';
import type { Fields, Sum, Value } from './grammar.ts';
import { excerpt, Num, parseError, positionOf } from './lexer.ts';

/** Longer dimension expressions are refused: their algebra is quadratic. */
const maxFactors = 64;

export class AttrReader {
  constructor(
    private readonly file: string,
    private readonly dims: ReadonlyMap<string, Dim>,
  ) {}

  private fail(at: IToken, message: string): never {
    throw parseError(this.file, positionOf(at), message);
  }

  /** The content of a string token. */
  text(at: IToken): string {
    try {
      return JSON.parse(at.image) as string; // the lexer made sure that it is a string, not that its escapes are good
    } catch {
      return this.fail(at, 'this string has a malformed escape');
    }
  }

  /** All attributes of an op; `op` is where a missing one is reported. */
  attrs(name: OpName, fields: Fields | undefined, op: IToken): Record<string, unknown> {
    return this.fields(kindsOf(name), fields?.entries ?? [], op, name);
  }

  /** The role of a state. */
  role(fields: Fields): StateRole {
    return this.value(kindsOf('param').role, fields, 'role') as StateRole;
  }

  /** `2*batch*seq + past - 1` over declared variables. */
  dim(sum: Sum): Dim {
    if (sum.terms.reduce((n, t) => n + t.factors.length, 0) > maxFactors) {
      return this.fail(sum.at, `a dimension has at most ${maxFactors} factors`);
    }
    try {
      return sum.terms
        .map(({ negative, factors }) =>
          factors.map((f) => this.factor(f)).reduce<Dim>((a, b) => dimMul(a, b), dim(negative ? -1 : 1)),
        )
        .reduce((a, b) => dimAdd(a, b));
    } catch (error) {
      if (error instanceof ModelcError && error.code !== 'parse') return this.fail(sum.at, error.message);
      throw error;
    }
  }

  private factor(at: IToken): Dim {
    if (at.tokenType === Num) {
      const value = Number(at.image);
      return Number.isSafeInteger(value)
        ? dim(value)
        : this.fail(at, `expected an integer, found '${excerpt(at.image)}'`);
    }
    return (
      this.dims.get(at.image) ??
      this.fail(
        at,
        `dimension ${excerpt(at.image)} is not declared; add '${excerpt(at.image)} in MIN..MAX' after 'where'`,
      )
    );
  }

  private fields(kinds: AttrKinds, entries: Fields['entries'], at: IToken, owner: string): Record<string, unknown> {
    const given = new Map<string, Value>();
    for (const { key, value } of entries) {
      if (!Object.hasOwn(kinds, key.image)) {
        const known = Object.keys(kinds);
        const hint = known.length > 0 ? `it has ${known.join(', ')}` : 'it has none';
        return this.fail(key, `${owner} has no attribute '${excerpt(key.image)}'; ${hint}`);
      }
      if (given.has(key.image)) return this.fail(key, `attribute ${key.image} is given twice`);
      given.set(key.image, value);
    }
    const result: Record<string, unknown> = {};
    for (const [key, kind] of Object.entries(kinds)) {
      const value = given.get(key);
      const isOptional = typeof kind === 'object' && 'optional' in kind;
      if (value) result[key] = this.value(kind, value, key);
      else if (!isOptional) return this.fail(at, `${owner} needs the attribute '${key}' (${kindText(kind)})`);
    }
    return result;
  }

  private value(kind: AttrKind, value: Value, name: string): unknown {
    const wrong = (): never => this.fail(value.at, `expected ${kindText(kind)} for '${name}', found ${found(value)}`);
    if (typeof kind === 'string') {
      switch (kind) {
        case 'number':
          return signedNumber(value) ?? wrong();
        case 'integer': {
          const n = signedNumber(value);
          return n !== undefined && Number.isSafeInteger(n) && !Object.is(n, -0) ? n : wrong();
        }
        case 'boolean': {
          const word = wordOf(value);
          return word === 'true' || word === 'false' ? word === 'true' : wrong();
        }
        case 'string':
          return value.kind === 'string' ? this.text(value.at) : wrong();
        case 'dtype': {
          const word = wordOf(value);
          return word !== undefined && isDType(word) ? word : wrong();
        }
        case 'dim':
          return value.kind === 'sum' ? this.dim(value) : wrong();
        default:
          return kind satisfies never;
      }
    }
    if ('oneOf' in kind) return choice(kind.oneOf, value) ?? wrong();
    if ('list' in kind) {
      return value.kind === 'list' ? value.items.map((v) => this.value(kind.list, v, name)) : wrong();
    }
    if ('pair' in kind) {
      const isPair = value.kind === 'list' && value.items.length === 2;
      return isPair ? value.items.map((v) => this.value(kind.pair, v, name)) : wrong();
    }
    if ('fields' in kind || 'variants' in kind) {
      const fields = 'fields' in kind ? kind.fields : variantFields(kind.variants);
      return value.kind === 'fields' ? this.fields(fields, value.entries, value.at, name) : wrong();
    }
    if ('optional' in kind) return this.value(kind.optional, value, name);
    const fitting = kind.either.find((k) => isKind(k, value));
    return fitting ? this.value(fitting, value, name) : wrong();
  }
}

const loneFactor = (value: Value): { negative: boolean; token: IToken } | undefined =>
  value.kind === 'sum' && value.terms.length === 1 && value.terms[0].factors.length === 1
    ? { negative: value.terms[0].negative, token: value.terms[0].factors[0] }
    : undefined;

/** `lt`, `true`, `f32`. */
function wordOf(value: Value): string | undefined {
  const factor = loneFactor(value);
  return factor && !factor.negative && factor.token.tokenType !== Num ? factor.token.image : undefined;
}

/** `1e-5`, `-0`, `-Infinity`, `NaN`. */
function signedNumber(value: Value): number | undefined {
  const factor = loneFactor(value);
  if (!factor) return undefined;
  const { image, tokenType } = factor.token;
  if (tokenType !== Num && image !== 'Infinity' && image !== 'NaN') return undefined;
  return factor.negative ? -Number(image) : Number(image);
}

const choice = (options: readonly (string | number)[], value: Value): string | number | undefined => {
  const given = wordOf(value) ?? signedNumber(value);
  return options.find((o) => o === given);
};

/** Which alternative of an `either` a value takes. */
function isKind(kind: AttrKind, value: Value): boolean {
  if (kind === 'number') return signedNumber(value) !== undefined;
  if (typeof kind !== 'object') return false;
  return 'oneOf' in kind ? choice(kind.oneOf, value) !== undefined : 'list' in kind && value.kind === 'list';
}

/** A kind in words. */
function kindText(kind: AttrKind): string {
  if (typeof kind === 'string') {
    switch (kind) {
      case 'number':
        return 'a number';
      case 'integer':
        return 'an integer';
      case 'boolean':
        return 'true or false';
      case 'string':
        return 'a string';
      case 'dtype':
        return `a type (${dtypes.join(', ')})`;
      case 'dim':
        return 'a dimension';
      default:
        return kind satisfies never;
    }
  }
  if ('oneOf' in kind) return kind.oneOf.length > 1 ? `one of ${kind.oneOf.join(', ')}` : `${kind.oneOf[0]}`;
  if ('list' in kind) return `a list of any number ([${kindText(kind.list)}, ...])`;
  if ('pair' in kind) return `a list of 2 ([${kindText(kind.pair)}, ...])`;
  if ('fields' in kind) return `{${Object.keys(kind.fields).join(', ')}}`;
  if ('variants' in kind) return kindText({ fields: variantFields(kind.variants) });
  if ('optional' in kind) return kindText(kind.optional);
  return kind.either.map(kindText).join(' or ');
}

/** A value in words. */
function found(value: Value): string {
  if (value.kind === 'list') return `a list of ${value.items.length}`;
  if (value.kind === 'fields') return 'a record';
  const factor = loneFactor(value);
  if (value.kind === 'sum' && !factor) return 'an expression';
  return `'${factor?.negative ? '-' : ''}${excerpt((factor?.token ?? value.at).image)}'`;
}
