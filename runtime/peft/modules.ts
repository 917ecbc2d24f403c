// The modules of a model, as its graph shows them. A weight `P.weight` that is summed over in a product makes P a linear
// layer, one whose rows are looked up an embedding; every prefix of a parameter's path is a module too. A tied table serves
// the output head as well, which then has no weight of its own.
import { dimConst } from '../../ir/dim.ts';
import type { DType } from '../../ir/dtype.ts';
import type { Graph } from '../../ir/graph.ts';
import { roots, topologicalOrder } from '../../ir/graph.ts';
import { useOf, type WeightUse } from '../../passes/lora.ts';

/** A linear layer or an embedding: what low-rank adapters change. */
export interface MatrixModule {
  readonly name: string;
  /** The param that it reads. */
  readonly weight: string;
  readonly use: WeightUse;
  readonly in: number;
  readonly out: number;
  /** Whether the weight is stored [in, out]. */
  readonly fanInFanOut: boolean;
  /** Whether another module reads the same weight. */
  readonly isTied: boolean;
  readonly bias?: string;
}

export interface ModelModules {
  /** All modules by path, in the order of the model's fields. */
  readonly names: readonly string[];
  readonly matrices: ReadonlyMap<string, MatrixModule>;
  /** Shapes of all parameters. */
  readonly parameters: ReadonlyMap<string, readonly number[]>;
  readonly dtypes: ReadonlyMap<string, DType>;
  /** The output layer of a language model. */
  readonly head: string | undefined;
  /** Whether transformers reads a module's weight under other names alone, so that a copy of the module is read by nobody. */
  isBypassed(name: string): boolean;
}

/** What the graph does not show. */
export interface ModuleNames {
  /** The output layer, if the model has one. */
  readonly head?: string | undefined;
  /** The module, by the end of its path, whose weight others hold. */
  readonly bypassed?: string | undefined;
}

const owner = (parameter: string): string => parameter.slice(0, parameter.lastIndexOf('.'));

export function modulesOf(graph: Graph, { head, bypassed }: ModuleNames = {}): ModelModules {
  const params = graph.params.filter((p) => p.attrs.kind === 'weight' || p.attrs.kind === 'state');
  const parameters = new Map(params.map((p) => [p.attrs.name, p.type.shape.map((d) => dimConst(d) ?? 0)]));
  const dtypes = new Map(params.map((p) => [p.attrs.name, p.type.dtype]));
  const uses = new Map<string, Map<WeightUse, Pick<MatrixModule, 'in' | 'out' | 'fanInFanOut'>>>();
  for (const node of topologicalOrder(roots(graph))) {
    const found = useOf(node);
    if (!found || !parameters.has(found.param.attrs.name)) continue;
    const { name } = found.param.attrs;
    const shape = parameters.get(name)!;
    const known = uses.get(name) ?? new Map();
    uses.set(name, known);
    known.set(found.use, {
      in: shape[found.inputs],
      out: shape[1 - found.inputs],
      // An embedding is stored by rows of ids, which is how it is always stored.
      fanInFanOut: found.inputs === 0,
    });
  }
  const names = new Set<string>();
  const matrices = new Map<string, MatrixModule>();
  for (const parameter of parameters.keys()) {
    for (let at = parameter.indexOf('.'); at >= 0; at = parameter.indexOf('.', at + 1))
      names.add(parameter.slice(0, at));
    const found = uses.get(parameter);
    if (!found || !parameter.endsWith('.weight')) continue;
    const isTied = found.size > 1;
    const name = owner(parameter);
    const bias = parameters.has(`${name}.bias`) ? { bias: `${name}.bias` } : {};
    for (const [use, shape] of found) {
      if (use === 'product' && isTied) continue;
      matrices.set(name, { name, weight: parameter, use, isTied, ...shape, ...bias });
    }
    const product = found.get('product');
    if (isTied && product && head !== undefined) {
      names.add(head);
      matrices.set(head, { name: head, weight: parameter, use: 'product', isTied, ...product });
    }
  }
  return {
    names: [...names],
    matrices,
    parameters,
    dtypes,
    head: head !== undefined && names.has(head) ? head : undefined,
    isBypassed: (name) => bypassed !== undefined && (name === bypassed || name.endsWith(`.${bypassed}`)),
  };
}

/** Numbers in all parameters. */
export const parameterCount = ({ parameters }: ModelModules): number =>
  [...parameters.values()].reduce((sum, shape) => sum + shape.reduce((n, d) => n * d, 1), 0);
