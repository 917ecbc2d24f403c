// Buffers of an executor for the inputs and results of runs: one each by entry, replaced by a larger one when a run needs
// more. While they and the states stay the same, runs of an entry get the same bindings, which devices check once.
import type { Bindings, Buffer, Device } from '../../backends/device.ts';
import type { DType } from '../../ir/dtype.ts';

/** What an array must have room for. */
interface Needed {
  readonly bytes: number;
  readonly dtype: DType;
}

type Fixed = Pick<Bindings, 'weights' | 'constants' | 'states'>;

export class RunBuffers {
  private readonly buffers = new Map<string, Buffer>();
  private readonly bindings = new Map<string, Bindings>();

  constructor(private readonly device: Device) {}

  /** The bindings of a run of `entry`. */
  bind(entry: string, fixed: Fixed, inputs: readonly Needed[], results: readonly Needed[]): Bindings {
    const bindings: Bindings = {
      ...fixed,
      inputs: inputs.map((needed, i) => this.take(`${entry} input ${i}`, needed)),
      results: results.map((needed, i) => this.take(`${entry} result ${i}`, needed)),
    };
    const known = this.bindings.get(entry);
    if (known && isSame(known, bindings)) return known;
    this.bindings.set(entry, bindings);
    return bindings;
  }

  private take(role: string, { bytes, dtype }: Needed): Buffer {
    const known = this.buffers.get(role);
    if (known && known.bytes >= bytes) return known;
    if (known) this.device.free(known);
    const buffer = this.device.alloc(bytes, dtype);
    this.buffers.set(role, buffer);
    return buffer;
  }

  free(): void {
    for (const buffer of this.buffers.values()) this.device.free(buffer);
    this.buffers.clear();
    this.bindings.clear();
  }
}

/** Whether two lists of bindings hold the same buffers; weights and constants are those of the entry. */
function isSame(a: Bindings, b: Bindings): boolean {
  const same = (list: 'states' | 'inputs' | 'results'): boolean =>
    a[list].length === b[list].length && a[list].every((buffer, i) => buffer === b[list][i]);
  return a.weights === b.weights && a.constants === b.constants && same('states') && same('inputs') && same('results');
}
