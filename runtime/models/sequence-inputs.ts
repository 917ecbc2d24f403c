// The inputs of a sequence task from the columns of a batch: each in the dtype that the task declares, and those that the
// batch does not have filled in as the task says.
import { ignoredLabel, type SequenceInput } from '../../frontends/dsl/index.ts';
import { ModelcError } from '../../ir/error.ts';
import { type HostTensor, storeNumbers } from '../tensors/host-tensor.ts';

type Columns = Readonly<Record<string, HostTensor>>;

/**
 * A tensor for each of `wanted`. Throws ModelcError 'input' for a column that is missing or has another shape than its
 * axes say; columns that nothing wants are passed over.
 */
export function completeInputs(wanted: readonly SequenceInput[], columns: Columns): Record<string, HostTensor> {
  const sizes = new Map<string, number>();
  const given = (name: string): HostTensor | undefined => (Object.hasOwn(columns, name) ? columns[name] : undefined);
  const complete: Record<string, HostTensor> = {};
  for (const input of wanted) {
    const column = given(input.name) ?? shiftedColumn(input, given);
    if (!column) continue;
    learnSizes(input, column, sizes);
    complete[input.name] = withDType(input, column);
  }
  for (const { name, dtype, axes, fill } of wanted) {
    if (Object.hasOwn(complete, name)) continue;
    const shape = axes.map((axis) => (typeof axis === 'number' ? axis : sizes.get(axis)));
    if (fill === undefined || shape.includes(undefined)) {
      throw new ModelcError(
        'input',
        `the model needs ${name}, which is not among the inputs (${Object.keys(columns).join(', ')})`,
      );
    }
    const count = (shape as number[]).reduce((n, d) => n * d, 1);
    complete[name] = {
      dtype,
      shape: shape as number[],
      data: storeNumbers(dtype, new Array<number>(count).fill(fill)),
    };
  }
  return complete;
}

function learnSizes({ name, axes }: SequenceInput, { shape, data }: HostTensor, sizes: Map<string, number>): void {
  const expected = axes.map((axis, i) => (typeof axis === 'number' ? axis : (sizes.get(axis) ?? shape[i])));
  const fits = shape.length === axes.length && shape.every((d, i) => d === expected[i]);
  if (!fits || data.length !== shape.reduce((n, d) => n * d, 1)) {
    const names = axes.map((axis) => (typeof axis === 'number' ? axis : `${axis} ${sizes.get(axis) ?? ''}`.trim()));
    throw new ModelcError('input', `${name} must have the shape [${names.join(', ')}], but has [${shape.join(', ')}]`);
  }
  for (const [i, axis] of axes.entries()) if (typeof axis === 'string') sizes.set(axis, shape[i]);
}

function withDType({ name, dtype }: SequenceInput, { dtype: from, shape, data }: HostTensor): HostTensor {
  if (from === dtype) return { dtype, shape, data };
  const numbers = Array.from(data as ArrayLike<number | bigint>, Number);
  if (dtype === 'i32' && !numbers.every((n) => Number.isInteger(n) && Math.abs(n) < 2 ** 31)) {
    throw new ModelcError(
      'input',
      `${name} must hold integers of 32 bits, but holds ${numbers.find((n) => !Number.isInteger(n)) ?? 'larger ones'}`,
    );
  }
  return { dtype, shape, data: storeNumbers(dtype, dtype === 'bool' ? numbers.map((n) => (n ? 1 : 0)) : numbers) };
}

function shiftedColumn(
  { shifted }: SequenceInput,
  given: (name: string) => HostTensor | undefined,
): HostTensor | undefined {
  const column = shifted && given(shifted.from);
  if (!column) return undefined;
  const length = column.shape[column.shape.length - 1];
  const labels = Int32Array.from(column.data as ArrayLike<number | bigint>, (label) =>
    Number(label) === ignoredLabel ? shifted.pad : Number(label),
  );
  const lastOf = (row: Int32Array): number => row.findLast((label) => label !== shifted.pad) ?? shifted.pad;
  const data = labels.map((_, i) => {
    if (i % length > 0) return labels[i - 1];
    return shifted.start === 'last' ? lastOf(labels.subarray(i, i + length)) : shifted.start;
  });
  return { dtype: 'i32', shape: column.shape, data };
}
