// The input that tells programs which adapter each row of a batch has.
import { ModelcError } from '../../ir/error.ts';
import { adapterRows } from '../../passes/lora.ts';
import type { Tensors } from '../execution/executor.ts';

export class AdapterRows {
  /** The adapter of each row; rows of others than the columns have none. */
  names: readonly string[] = [];

  /** `columns`: the adapters in the order in which the program knows them. */
  constructor(private readonly columns: readonly string[]) {}

  /** The input, for a run of these inputs. Beams of one row follow each other, so a batch is a multiple of the rows. */
  readonly input = ({ input_ids }: Tensors): Tensors => {
    const { names, columns } = this;
    const batch = input_ids.shape[0];
    const times = batch / names.length;
    if (!Number.isInteger(times)) {
      throw new ModelcError('input', `adapter_names has ${names.length} names, but input_ids has ${batch} rows; give one name per row`); // biome-ignore format: one row
    }
    const data = new Float32Array(batch * columns.length);
    for (let row = 0; row < batch; row++) {
      const column = columns.indexOf(names[Math.floor(row / times)]);
      if (column >= 0) data[row * columns.length + column] = 1;
    }
    return { [adapterRows]: { dtype: 'f32', shape: [batch, columns.length], data } };
  };
}
