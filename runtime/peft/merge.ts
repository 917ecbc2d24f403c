// Merging adapters into the weights that they change: W + s B A, and with a magnitude m / ‖·‖ times that, as the pass
// computes it. Each merged matrix is made by a graph over stored weights, as derived weights are: small ones in doubles, large
// ones by compiled code in f32, and both are rounded once to the dtype of the weight.
import { add, along, castTo, div, mul, reduce, scaled, transposed } from '../../ir/build.ts';
import { dim } from '../../ir/dim.ts';
import { ModelcError } from '../../ir/error.ts';
import type { Graph } from '../../ir/graph.ts';
import { make } from '../../ir/make.ts';
import type { Node } from '../../ir/node.ts';
import { preparedResult } from '../../passes/prepare.ts';
import { bytesOf, type HostTensor, viewOf } from '../tensors/host-tensor.ts';
import { preparedWeight } from '../tensors/prepare-weight.ts';
import { type Adapter, type AdapterTarget, tensorFor } from './adapter.ts';
import { combine, type Matrix, multiply } from './linear-algebra.ts';
import { hostTensor, numbersOf, outByIn, type ReadWeight } from './weights.ts';

export type Tensors = ReadonlyMap<string, HostTensor>;

/** s B A, [out, in]. */
export function deltaOf(adapter: Adapter, { module, scaling }: AdapterTarget, values: Tensors): Matrix {
  const [a, b] = (['a', 'b'] as const).map((role) => outByIn(values.get(tensorFor(adapter, module.name, role)!.param)!, false)); // biome-ignore format: one row
  const product = multiply(b, a);
  return combine(scaling, product, 0, product);
}

/**
 * The weights of the base with adapters merged into them, one after the other; keys are those of the modules' uses, for a
 * tied table may be changed in one of them only. Throws ModelcError 'unsupported' for a bias on B without a bias of the base.
 */
export async function mergedMatrices(
  adapters: readonly Adapter[],
  values: Tensors,
  read: ReadWeight,
): Promise<Map<string, MergedMatrix>> {
  const merged = new Map<string, MergedMatrix>();
  for (const adapter of adapters) {
    for (const target of adapter.targets) {
      const { module } = target;
      const known = merged.get(module.name);
      const stored = known?.weight ?? (await read(module.weight));
      const weight = await mergedWeight(adapter, target, values, stored);
      const bias = tensorFor(adapter, module.name, 'bias');
      merged.set(module.name, {
        module,
        weight,
        ...(bias ? { bias: await mergedBias(adapter, target, values.get(bias.param)!, known?.bias, read) } : known?.bias ? { bias: known.bias } : {}), // biome-ignore format: one row
      });
    }
    for (const { module, indices } of adapter.tokens) {
      const stored = merged.get(module.name)?.weight ?? (await read(module.weight));
      const rows = numbersOf(values.get(tensorFor(adapter, module.name, 'rows')!.param)!);
      const table = numbersOf(stored).slice();
      indices.forEach((id, i) => {
        table.set(rows.subarray(i * module.out, (i + 1) * module.out), id * module.out);
      });
      merged.set(module.name, { module, weight: hostTensor(stored.dtype, stored.shape, table), inAllUses: true });
    }
  }
  return merged;
}

/** The weight of a module, stored as `stored` is, with an adapter merged into it. */
async function mergedWeight(
  adapter: Adapter,
  { module, scaling }: AdapterTarget,
  values: Tensors,
  stored: HostTensor,
): Promise<HostTensor> {
  const own = (role: 'a' | 'b' | 'magnitude'): HostTensor | undefined => {
    const tensor = tensorFor(adapter, module.name, role);
    return tensor && values.get(tensor.param);
  };
  const magnitude = own('magnitude');
  const tensors = new Map([
    ['weight', stored],
    ['a', own('a')!],
    ['b', own('b')!],
    ...(magnitude ? [['magnitude', magnitude] as const] : []),
  ]);
  const graph = mergeGraph(tensors, scaling, module.fanInFanOut);
  const bytes = await preparedWeight(graph, (name) => bytesOf(tensors.get(name)!.data));
  if (!(bytes instanceof Uint8Array)) throw new ModelcError('type', `${module.name} was not merged in memory`);
  return { dtype: stored.dtype, shape: stored.shape, data: viewOf(stored.dtype, bytes) };
}

/** The graph that makes a weight [out, in], or [in, out], of it, a [rank, in], b [out, rank] and maybe magnitude [out]. */
function mergeGraph(tensors: Tensors, scaling: number, fanInFanOut: boolean): Graph {
  const params = [...tensors].map(([name, { dtype, shape }]) =>
    make('param', [], { name, kind: 'weight', dtype, shape: shape.map((d) => dim(d)) }),
  );
  const [weight, a, b, magnitude] = params.map((p) => castTo(p, 'f32'));
  const outByIn = (x: Node): Node => (fanInFanOut ? transposed(x, [1, 0]) : x);
  const delta = make('dot_general', [b, a], { batch: [[], []], contract: [[1], [0]], acc: 'f32' });
  const sum = add(outByIn(weight), scaled(delta, scaling));
  const norms = magnitude && make('sqrt', [reduce('add', mul(sum, sum), 1)], {});
  const merged = norms ? mul(sum, along(div(magnitude, norms), sum, 1)) : sum;
  const result = castTo(outByIn(merged), tensors.get('weight')!.dtype);
  return { name: 'merge', params, results: new Map([[preparedResult, result]]), updates: new Map() };
}

export interface MergedMatrix {
  readonly module: AdapterTarget['module'];
  readonly weight: HostTensor;
  /** The new bias of the base. */
  readonly bias?: HostTensor;
  /** Whether the other uses of a tied table see the change too. */
  readonly inAllUses?: boolean;
}

async function mergedBias(
  adapter: Adapter,
  { module, scaling }: AdapterTarget,
  own: HostTensor,
  known: HostTensor | undefined,
  read: ReadWeight,
): Promise<HostTensor> {
  if (module.bias === undefined) {
    throw new ModelcError(
      'unsupported',
      `adapter ${adapter.name} has lora_bias, which cannot be merged into ${module.name}, for that has no bias; keep the adapter unmerged`,
    );
  }
  const stored = known ?? (await read(module.bias));
  const added = numbersOf(own);
  return hostTensor(
    stored.dtype,
    stored.shape,
    numbersOf(stored).map((v, i) => v + scaling * added[i]),
  );
}

/** Throws ModelcError 'input' where a merged weight has a value that is not finite. */
export function checkFinite(names: readonly string[], { module, weight }: MergedMatrix): void {
  if (numbersOf(weight).every(Number.isFinite)) return;
  throw new ModelcError(
    'input',
    `merging ${names.join(', ')} gives NaN or infinite values in ${module.weight}; the adapter seems to be broken, and nothing was merged`,
  );
}
