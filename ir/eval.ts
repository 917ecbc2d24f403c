// The reference interpreter: the specification that every device is tested against. A graph is evaluated node by node,
// each by its op's own `eval`, after gradients were put in place; values are dropped after their last use. `evaluateRanks` runs the same graph on N
// simulated ranks in lockstep, so that sharded graphs can be checked without processes or a network.
import { type Dim, dim, dimConst, dimSubstitute, shapeText } from './dim.ts';
import { inDoubles } from './dtype.ts';
import { ModelcError } from './error.ts';
import { expandGradients } from './gradients.ts';
import { dimVars, type Graph, roots, topologicalOrder } from './graph.ts';
import { type NdArray, sizeOf } from './ndarray.ts';
import { isOp, type Node } from './node.ts';
import { evalRanks, isCollective } from './ops/collective.ts';
import { opOf } from './ops/index.ts';
import type { DimEnv } from './ops/op.ts';

/** What one run reads: arrays by param name, and dim variables that no param's shape determines. */
export interface EvalBindings {
  readonly params: ReadonlyMap<string, NdArray>;
  readonly dims?: DimEnv;
}

/** What one run gives: arrays by result name, and the new values of state params by param name. */
export interface EvalOutput {
  readonly results: Map<string, NdArray>;
  readonly updates: Map<string, NdArray>;
}

/**
 * Runs a graph. Dim variables come from `bindings.dims` and from the shapes of the bound params. With `floats` 'doubles',
 * nothing but the params is rounded to the types of the graph.
 * Throws ModelcError 'input' when a param is missing, has another dtype or shape, or puts a dim out of its bounds.
 */
export function evaluate(graph: Graph, bindings: EvalBindings, floats: 'rounded' | 'doubles' = 'rounded'): EvalOutput {
  const run = (): EvalOutput => evaluateRanks(graph, [bindings], {})[0];
  return floats === 'doubles' ? inDoubles(run) : run();
}

/**
 * Runs a graph on every rank of a mesh. `mesh` maps axis names to extents; ranks are numbered row-major over it, the
 * last axis fastest. `bindings` has one entry per rank. Throws as `evaluate` does.
 */
export function evaluateRanks(
  asked: Graph,
  bindings: readonly EvalBindings[],
  mesh: Readonly<Record<string, number>>,
): EvalOutput[] {
  const count = Object.values(mesh).reduce((n, extent) => n * extent, 1);
  if (count !== bindings.length) {
    throw new ModelcError('input', `a mesh of ${count} ranks needs ${count} bindings, got ${bindings.length}`);
  }
  const graph = expandGradients(asked);
  const envs = bindings.map((b) => solveDims(graph, b));
  const order = topologicalOrder(roots(graph));
  const uses = new Map<Node, number>();
  for (const node of [...order.flatMap((n) => n.args), ...roots(graph)]) uses.set(node, (uses.get(node) ?? 0) + 1);

  const values = new Map<Node, readonly NdArray[]>();
  for (const node of order) {
    values.set(node, evaluateNode(node, values, bindings, envs, mesh));
    for (const arg of node.args) {
      const left = uses.get(arg)! - 1;
      uses.set(arg, left);
      if (left === 0) values.delete(arg);
    }
  }
  return bindings.map((_, rank) => ({
    results: new Map([...graph.results].map(([name, node]) => [name, values.get(node)![rank]])),
    updates: new Map([...graph.updates].map(([param, node]) => [param.attrs.name, values.get(node)![rank]])),
  }));
}

/** The value of one node on every rank. */
function evaluateNode(
  node: Node,
  values: ReadonlyMap<Node, readonly NdArray[]>,
  bindings: readonly EvalBindings[],
  envs: readonly DimEnv[],
  mesh: Readonly<Record<string, number>>,
): NdArray[] {
  if (isOp(node, 'param')) return bindings.map((b) => bound(node, b));
  const args = bindings.map((_, rank) => node.args.map((a) => values.get(a)![rank]));
  if (!isCollective(node) || node.attrs.size === 1) {
    return args.map((own, rank) => opOf(node.op).eval(node, own, envs[rank]));
  }
  const { mesh: axis, size } = node.attrs;
  if (mesh[axis] !== size) {
    throw new ModelcError(
      'input',
      `${node.op} runs over mesh axis '${axis}' of size ${size}, but the mesh is {${Object.entries(mesh).map(([name, n]) => `${name}: ${n}`)}}`,
    );
  }
  const result = new Array<NdArray>(args.length);
  for (const group of groupsAlong(axis, mesh)) {
    const out = evalRanks(
      node,
      group.map((rank) => args[rank]),
    );
    for (const [i, rank] of group.entries()) result[rank] = out[i];
  }
  return result;
}

/** The sets of ranks that differ only in their coordinate along `axis`, each in order of that coordinate. */
function groupsAlong(axis: string, mesh: Readonly<Record<string, number>>): number[][] {
  const names = Object.keys(mesh);
  const at = names.indexOf(axis);
  const stride = names.slice(at + 1).reduce((n, name) => n * mesh[name], 1);
  const outer = names.slice(0, at).reduce((n, name) => n * mesh[name], 1);
  const groups: number[][] = [];
  for (let o = 0; o < outer; o++) {
    for (let i = 0; i < stride; i++) {
      groups.push(Array.from({ length: mesh[axis] }, (_, c) => (o * mesh[axis] + c) * stride + i));
    }
  }
  return groups;
}

function bound(param: Node<'param'>, bindings: EvalBindings): NdArray {
  const { name, dtype } = param.attrs;
  const value = bindings.params.get(name);
  if (!value) throw new ModelcError('input', `param '${name}' is not bound`);
  if (value.dtype !== dtype) {
    throw new ModelcError('input', `param '${name}' is ${dtype}, but its value is ${value.dtype}`);
  }
  if (value.data.length !== sizeOf(value.shape)) {
    throw new ModelcError(
      'input',
      `the value of param '${name}' has ${value.data.length} elements, not [${value.shape}]`,
    );
  }
  return value;
}

/**
 * Solves for the dim variables of a graph: starts from the given ones, then takes any dimension of a bound param that
 * is linear in its one unknown variable, until none is left; what remains must agree.
 */
export function solveDims(graph: Graph, bindings: EvalBindings): DimEnv {
  const declared = dimVars(graph);
  const known = new Map<string, Dim>();
  const learn = (name: string, value: number, where: string): void => {
    const v = declared.get(name);
    if (v && !(Number.isSafeInteger(value) && value >= v.min && value <= v.max)) {
      throw new ModelcError('input', `${where} makes dimension ${name} ${value}; it must be in ${v.min}..${v.max}`);
    }
    known.set(name, dim(value));
  };
  for (const [name, value] of Object.entries(bindings.dims ?? {})) learn(name, value, 'the binding of dims');

  let open = graph.params.flatMap((param) => {
    const shape = bindings.params.get(param.attrs.name)?.shape;
    if (!shape) return [];
    if (shape.length !== param.type.shape.length) throw mismatch(param, shape);
    return param.type.shape.map((d, i) => ({ param, shape, d, size: shape[i] }));
  });
  for (let progress = true; progress; ) {
    progress = false;
    open = open.filter(({ param, shape, d, size }) => {
      const rest = dimSubstitute(d, known);
      const value = dimConst(rest);
      if (value !== undefined) {
        if (value !== size) throw mismatch(param, shape);
        return false;
      }
      const [name] = rest.vars.keys();
      const slope = rest.terms.get(name);
      const offset = rest.terms.get('') ?? 0;
      if (slope === undefined || rest.terms.size !== (offset === 0 ? 1 : 2)) return true;
      if ((size - offset) % slope !== 0) throw mismatch(param, shape);
      learn(name, (size - offset) / slope, `param '${param.attrs.name}' of shape [${shape}]`);
      progress = true;
      return false;
    });
  }
  if (open.length > 0) {
    throw new ModelcError(
      'input',
      `the shape of param '${open[0].param.attrs.name}' does not determine ${shapeText([open[0].d])}; bind its dimensions`,
    );
  }
  return Object.fromEntries([...known].map(([name, d]) => [name, d.min]));
}

const mismatch = (param: Node<'param'>, shape: readonly number[]): ModelcError =>
  new ModelcError(
    'input',
    `param '${param.attrs.name}' must have shape ${shapeText(param.type.shape)}, but its value has [${shape}]`,
  );
