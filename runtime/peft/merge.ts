// Merging adapters into the weights that they change, on the host: W + s B A, and with a magnitude m / ‖·‖ times that, as
// the pass computes it. Sums are made in doubles and rounded once to the dtype of the weight.
import { ModelcError } from '../../ir/error.ts';
import type { HostTensor } from '../tensors/host-tensor.ts';
import { type Adapter, type AdapterTarget, tensorFor } from './adapter.ts';
import { combine, type Matrix, multiply, rowNorms, scaleRows } from './linear-algebra.ts';
import { hostTensor, numbersOf, outByIn, type ReadWeight, storedLike } from './weights.ts';

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
      let sum = combine(1, outByIn(stored, module.fanInFanOut), 1, deltaOf(adapter, target, values));
      const magnitude = tensorFor(adapter, module.name, 'magnitude');
      if (magnitude) {
        const norms = rowNorms(sum);
        sum = scaleRows(sum, numbersOf(values.get(magnitude.param)!).map((m, i) => m / norms[i])); // biome-ignore format: one row
      }
      const weight = storedLike(stored, sum, module.fanInFanOut);
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
