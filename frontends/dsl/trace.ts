// trace: runs a model's TypeScript once, with Tensors in place of numbers, and returns the Graph that it described.
// Inputs, states and dims are declared through the Tracer, weights and constants through the fields of the module.
import type { Dim, DimLike } from '../../ir/dim.ts';
import { dim, dimVar } from '../../ir/dim.ts';
import type { DType } from '../../ir/dtype.ts';
import { ModelcError } from '../../ir/error.ts';
import type { Graph } from '../../ir/graph.ts';
import { roots, topologicalOrder } from '../../ir/graph.ts';
import type { Node } from '../../ir/node.ts';
import { isOp } from '../../ir/node.ts';
import type { Attrs, StateRole } from '../../ir/ops/attrs.ts';
import { Constant, type Module, type WeightResolver } from './module.ts';
import { op, type Tensor } from './tensor.ts';

/** What trace() gives. */
export interface Traced {
  /** The computation. */
  readonly graph: Graph;
  /** Data of the graph's 'constant' params. */
  readonly constants: ReadonlyMap<string, Float32Array>;
}

/** Declares what a graph takes, keeps and gives. */
export interface Tracer {
  /** Declares a dimension that every run chooses within inclusive bounds. */
  dim(name: string, min: number, max: number): Dim;
  /** Declares what every run must be given. */
  input(name: string, dtype: DType, shape: readonly DimLike[]): Tensor;
  /** Declares what persists from run to run, all zero at first. */
  state(name: string, dtype: DType, shape: readonly DimLike[], role: StateRole): Tensor;
  /** Names a tensor that every run returns. */
  result(name: string, tensor: Tensor): void;
  /** The value that `state` has after the run. */
  update(state: Tensor, tensor: Tensor): void;
}

/**
 * The graph of `build`, which may use the parameters of `model`. Params come in the order inputs and states (as declared),
 * then the weights and constants that are used, in the order of the model's fields. Parameters that `isTrained` accepts
 * are states, which `build` may update.
 */
export function trace(
  name: string,
  model: Module,
  weights: WeightResolver,
  build: (t: Tracer) => void,
  isTrained: (path: string) => boolean = () => false,
): Traced {
  const dims = new Map<string, Dim>();
  const declared = new Map<string, Node<'param'>>();
  const results = new Map<string, Node>();
  const updates = new Map<Node<'param'>, Node>();
  const fields = model.named();

  const param = (
    param: string,
    attrs: Pick<Attrs['param'], 'kind' | 'dtype' | 'role'>,
    shape: readonly DimLike[],
  ): Tensor => {
    if (declared.has(param) || fields.has(param))
      throw new ModelcError('input', `graph ${name} declares ${param} twice`);
    const tensor = op('param', [], { ...attrs, name: param, shape: shape.map(dim) });
    declared.set(param, tensor.node as Node<'param'>);
    return tensor;
  };
  const tracer: Tracer = {
    dim(variable, min, max) {
      if (dims.has(variable)) throw new ModelcError('input', `graph ${name} declares dimension ${variable} twice`);
      const declaredDim = dimVar(variable, min, max);
      dims.set(variable, declaredDim);
      return declaredDim;
    },
    input: (inputName, dtype, shape) => param(inputName, { kind: 'input', dtype }, shape),
    state: (stateName, dtype, shape, role) => param(stateName, { kind: 'state', dtype, role }, shape),
    result(resultName, tensor) {
      if (results.has(resultName)) throw new ModelcError('input', `graph ${name} returns ${resultName} twice`);
      results.set(resultName, tensor.node);
    },
    update(state, tensor) {
      const node = state.node;
      if (!isOp(node, 'param') || node.attrs.kind !== 'state') {
        throw new ModelcError('input', `graph ${name} updates a tensor that is no state`);
      }
      if (updates.has(node)) throw new ModelcError('input', `graph ${name} updates ${node.attrs.name} twice`);
      updates.set(node, tensor.node);
    },
  };

  for (const [path, field] of fields) {
    if (field instanceof Constant) field.bind(path);
    else field.bind(path, weights, isTrained(path));
  }
  build(tracer);

  const used = new Map<string, Node<'param'>>();
  for (const node of topologicalOrder([...results.values(), ...updates.values()])) {
    if (isOp(node, 'param') && !declared.has(node.attrs.name)) used.set(node.attrs.name, node);
  }
  const constants = new Map<string, Float32Array>();
  const params = [...declared.values()];
  for (const [path, field] of fields) {
    const node = used.get(path);
    if (!node) continue;
    params.push(node);
    used.delete(path);
    if (field instanceof Constant) constants.set(path, field.data);
  }
  for (const stray of used.keys()) {
    throw new ModelcError('input', `graph ${name} uses ${stray}, which belongs to another model or trace`);
  }
  const graph: Graph = { name, params, results, updates };
  if (roots(graph).length === 0) throw new ModelcError('input', `graph ${name} returns nothing: call t.result()`);
  return { graph, constants };
}
