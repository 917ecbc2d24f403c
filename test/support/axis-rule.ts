// Checks an op's axis rule against its behaviour. The rule must be well formed (factors multiply up to the dimensions),
// and its 'map' factors must be independent: an element of the result at coordinate c of a factor may depend on an
// argument only through elements at the same c, wherever the argument has that factor.
import { dimEquals, dimEval, dimProduct, dimText } from '../../ir/dim.ts';
import type { NdArray } from '../../ir/ndarray.ts';
import type { Node } from '../../ir/node.ts';
import { forEachIndex } from '../../ir/ops/common.ts';
import { opOf } from '../../ir/ops/index.ts';
import type { AxisRule, DimEnv } from '../../ir/ops/op.ts';

type DimFactors = AxisRule['result'];

/** Throws an Error that says what is wrong with the rule of `node`. */
export function checkAxisRule(node: Node, args: readonly NdArray[], env: DimEnv): void {
  const rule = opOf(node.op).axes(node);
  if (rule.args.length !== node.args.length) throw new Error(`rule of ${rule.args.length} arguments`);
  rule.args.forEach((dims, i) => {
    checkDims(rule, dims, node.args[i], `argument ${i}`);
  });
  checkDims(rule, rule.result, node, 'result');
  const inResult = new Set(rule.result.flat());
  let known: NdArray | undefined;
  rule.factors.forEach(({ kind, size }, factor) => {
    if (kind === 'reduce' && inResult.has(factor)) throw new Error(`reduce factor ${factor} is in the result`);
    const users = rule.args.flatMap((dims, i) => (dims.flat().includes(factor) ? [i] : []));
    if (kind !== 'map' || !inResult.has(factor) || users.length === 0 || dimEval(size, env) < 2) return;
    // change everything at other coordinates than 0; the result at 0 must stay
    const changed = args.map((x, i) => (users.includes(i) ? changedOutside(x, rule, rule.args[i], factor, env) : x));
    const actual = opOf(node.op).eval(node, changed, env);
    const expected = (known ??= opOf(node.op).eval(node, args, env));
    const coordinate = coordinates(expected, rule, rule.result, factor, env);
    const at = coordinate.findIndex((c, i) => c === 0 && !Object.is(actual.data[i], expected.data[i]));
    if (at >= 0) throw new Error(`map factor ${factor} is not independent: element ${at} of the result changed`);
  });
}

function checkDims(rule: AxisRule, dims: DimFactors, { type }: Node, where: string): void {
  if (dims.length !== type.shape.length)
    throw new Error(`${where}: rule of ${dims.length} axes, not ${type.shape.length}`);
  dims.forEach((factors, axis) => {
    const product = dimProduct(factors.map((f) => rule.factors[f].size));
    if (!dimEquals(product, type.shape[axis])) {
      throw new Error(`${where}, axis ${axis}: factors give ${dimText(product)}, not ${dimText(type.shape[axis])}`);
    }
  });
}

/** The coordinate along `factor` of every element. */
function coordinates(x: NdArray, rule: AxisRule, dims: DimFactors, factor: number, env: DimEnv): number[] {
  const axis = dims.findIndex((factors) => factors.includes(factor));
  const minor = dims[axis].slice(dims[axis].indexOf(factor) + 1);
  const step = minor.reduce((n, f) => n * dimEval(rule.factors[f].size, env), 1);
  const result: number[] = [];
  forEachIndex(x.shape, (at) => result.push(Math.floor(at[axis] / step) % dimEval(rule.factors[factor].size, env)));
  return result;
}

/** Elements at coordinates other than 0 trade places with their neighbours, so that they stay plausible. */
function changedOutside(x: NdArray, rule: AxisRule, dims: DimFactors, factor: number, env: DimEnv): NdArray {
  const outside = coordinates(x, rule, dims, factor, env).flatMap((c, i) => (c === 0 ? [] : [i]));
  const data = x.data.slice();
  outside.forEach((i, k) => {
    data[i] = x.data[outside[(k + 1) % outside.length]];
  });
  return { ...x, data };
}
