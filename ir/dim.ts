// Symbolic dimensions: canonical polynomials with integer coefficients over declared variables with bounds.
// Two dims are equal when their canonical forms are; an inequality holds when interval bounds prove it. Anything else
// is undecidable, which is a compile error that prints both sides: never a guard, never a recompilation.
import { ModelcError } from './error.ts';

/** A declared variable, e.g. `seq in 1..512`. Bounds are inclusive. */
export interface DimVar {
  readonly name: string;
  readonly min: number;
  readonly max: number;
}

/**
 * A polynomial. `terms` maps a monomial (variable names sorted and joined by '*'; '' is the constant) to its
 * coefficient, in sorted order, without zeros. `min` and `max` bound the value.
 */
export interface Dim {
  /** Coefficients by monomial: `batch*seq` is the product of two variables, `` the constant. */
  readonly terms: ReadonlyMap<string, number>;
  /** The declared variables that occur, by name. */
  readonly vars: ReadonlyMap<string, DimVar>;
  /** The least value within the bounds of the variables. */
  readonly min: number;
  /** The largest value within the bounds of the variables. */
  readonly max: number;
}

/** What functions that take a dimension accept. */
export type DimLike = Dim | number;

const noVars: ReadonlyMap<string, DimVar> = new Map();

function build(terms: Map<string, number>, vars: ReadonlyMap<string, DimVar>): Dim {
  const sorted = new Map([...terms].filter(([, c]) => c !== 0).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)));
  const used = new Map<string, DimVar>();
  let min = 0;
  let max = 0;
  for (const [monomial, c] of sorted) {
    let low = 1;
    let high = 1;
    for (const name of monomial === '' ? [] : monomial.split('*')) {
      const v = vars.get(name)!;
      used.set(name, v);
      low *= v.min; // variables are non-negative, so products of bounds are bounds of products
      high *= v.max;
    }
    min += c * (c > 0 ? low : high);
    max += c * (c > 0 ? high : low);
  }
  return { terms: sorted, vars: used, min, max };
}

/** Declares a variable as a dim. Bounds are inclusive and non-negative; the name is an identifier. */
export function dimVar(name: string, min: number, max: number): Dim {
  if (!/^[a-zA-Z_][a-zA-Z0-9_]*$/.test(name)) {
    throw new ModelcError('type', `dim variable '${name}' is not an identifier`);
  }
  if (!(Number.isSafeInteger(min) && Number.isSafeInteger(max) && min >= 0 && min <= max)) {
    throw new ModelcError(
      'type',
      `dim variable ${name} has bounds ${min}..${max}; they must be integers, 0 <= min <= max`,
    );
  }
  return build(new Map([[name, 1]]), new Map([[name, { name, min, max }]]));
}

const constants = new Map<number, Dim>();
export function dim(value: DimLike): Dim {
  if (typeof value !== 'number') return value;
  let d = constants.get(value);
  if (!d) {
    if (!Number.isSafeInteger(value)) throw new ModelcError('type', `a dimension must be an integer, got ${value}`);
    d = { terms: value === 0 ? new Map() : new Map([['', value]]), vars: noVars, min: value, max: value };
    if (constants.size < 65536) constants.set(value, d);
  }
  return d;
}

function mergeVars(a: Dim, b: Dim): ReadonlyMap<string, DimVar> {
  if (b.vars.size === 0) return a.vars;
  if (a.vars.size === 0) return b.vars;
  const vars = new Map(a.vars);
  for (const [name, v] of b.vars) {
    const known = vars.get(name);
    if (known && (known.min !== v.min || known.max !== v.max)) {
      throw new ModelcError(
        'type',
        `dim variable ${name} is declared twice: in ${known.min}..${known.max} and in ${v.min}..${v.max}`,
      );
    }
    vars.set(name, v);
  }
  return vars;
}

export function dimAdd(x: DimLike, y: DimLike): Dim {
  const a = dim(x);
  const b = dim(y);
  if (a.vars.size === 0 && b.vars.size === 0) return dim(a.min + b.min);
  const terms = new Map(a.terms);
  for (const [m, c] of b.terms) terms.set(m, (terms.get(m) ?? 0) + c);
  return build(terms, mergeVars(a, b));
}

export function dimMul(x: DimLike, y: DimLike): Dim {
  const a = dim(x);
  const b = dim(y);
  if (a.vars.size === 0 && b.vars.size === 0) return dim(a.min * b.min);
  const terms = new Map<string, number>();
  for (const [m, c] of a.terms) {
    for (const [n, d] of b.terms) {
      const key = [...(m ? m.split('*') : []), ...(n ? n.split('*') : [])].sort().join('*');
      terms.set(key, (terms.get(key) ?? 0) + c * d);
    }
  }
  return build(terms, mergeVars(a, b));
}

/** x - y. Throws ModelcError 'type' where the two hold variables of one name and different bounds. */
export const dimSub = (x: DimLike, y: DimLike): Dim => dimAdd(x, dimMul(y, -1));
export const dimProduct = (dims: readonly DimLike[]): Dim => dims.reduce<Dim>((p, d) => dimMul(p, d), dim(1));

/** The quotient when `y` divides `x` exactly as a polynomial, undefined otherwise. */
export function dimDivExact(x: DimLike, y: DimLike): Dim | undefined {
  const a = dim(x);
  const b = dim(y);
  if (dimEquals(a, b)) return dim(1);
  if (a.terms.size === 0) return a;
  if (b.terms.size !== 1) return undefined; // by a single monomial only: all that shapes need
  const [[monomial, c]] = b.terms;
  const terms = new Map<string, number>();
  for (const [m, k] of a.terms) {
    const names = m ? m.split('*') : [];
    for (const name of monomial ? monomial.split('*') : []) {
      const at = names.indexOf(name);
      if (at < 0) return undefined;
      names.splice(at, 1);
    }
    if (k % c !== 0) return undefined;
    terms.set(names.join('*'), k / c);
  }
  return build(terms, a.vars);
}

export function dimEquals(x: DimLike, y: DimLike): boolean {
  if (x === y) return true;
  const a = dim(x);
  const b = dim(y);
  if (a.terms.size !== b.terms.size) return false;
  for (const [m, c] of a.terms) if (b.terms.get(m) !== c) return false;
  return true;
}

/** Whether x <= y is proved for all values of the variables. */
export const dimLessEqual = (x: DimLike, y: DimLike): boolean => dimSub(y, x).min >= 0;

/** The value when the dim is constant. */
export const dimConst = (x: DimLike): number | undefined => {
  const d = dim(x);
  return d.vars.size === 0 ? d.min : undefined;
};

/** The value under an assignment of its variables. */
export function dimEval(x: DimLike, env: Readonly<Record<string, number>>): number {
  if (typeof x === 'number') return x;
  let sum = 0;
  for (const [monomial, c] of x.terms) {
    let product = c;
    for (const name of monomial === '' ? [] : monomial.split('*')) {
      const value = env[name];
      if (value === undefined) throw new ModelcError('input', `dimension ${name} is not bound`);
      product *= value;
    }
    sum += product;
  }
  return sum;
}

/** Replaces variables by dims (for example `seq` by 1). */
export function dimSubstitute(x: Dim, values: ReadonlyMap<string, Dim>): Dim {
  if (![...x.vars.keys()].some((name) => values.has(name))) return x;
  let sum = dim(0);
  for (const [monomial, c] of x.terms) {
    let product = dim(c);
    for (const name of monomial === '' ? [] : monomial.split('*')) {
      const v = x.vars.get(name)!;
      product = dimMul(product, values.get(name) ?? build(new Map([[name, 1]]), new Map([[name, v]])));
    }
    sum = dimAdd(sum, product);
  }
  return sum;
}

/** Canonical text: `2*batch*seq + past - 1`. Equal dims print equal text. */
export function dimText(x: DimLike): string {
  const d = dim(x);
  let text = texts.get(d);
  if (text === undefined) texts.set(d, (text = printDim(d)));
  return text;
}

const texts = new WeakMap<Dim, string>();
function printDim(d: Dim): string {
  if (d.terms.size === 0) return '0';
  const parts: string[] = [];
  const ordered = [...d.terms].sort(([a], [b]) => (a === '' ? 1 : b === '' ? -1 : a < b ? -1 : 1));
  for (const [monomial, c] of ordered) {
    const size = Math.abs(c);
    const body = monomial === '' ? `${size}` : size === 1 ? monomial : `${size}*${monomial}`;
    parts.push(parts.length === 0 ? (c < 0 ? `-${body}` : body) : `${c < 0 ? '-' : '+'} ${body}`);
  }
  return parts.join(' ');
}

export const shapeText = (shape: readonly DimLike[]): string => `[${shape.map(dimText).join(', ')}]`;
export const shapeEquals = (a: readonly Dim[], b: readonly Dim[]): boolean =>
  a.length === b.length && a.every((d, i) => dimEquals(d, b[i]));
