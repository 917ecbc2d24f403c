// Vectors for the places of tokens, which are added to their embeddings: learned, or sines of many wavelengths (Vaswani et
// al., 2017), computed here or kept in a checkpoint.
import {
  arange,
  Constant,
  type Dim,
  type DimLike,
  FixedParameter,
  Module,
  normal,
  Parameter,
  sizeOf,
  type Tensor,
} from '../../frontends/dsl/index.ts';

/** Gives [seq, size] or [batch, seq, size] for token ids [batch, seq], before which there are `past` positions. */
export interface Positions extends Module {
  forward(inputIds: Tensor, past: DimLike): Tensor;
}

/** The positions of `seq` tokens behind `past` others, i32 [seq]. */
const placesOf = (seq: Dim, past: DimLike): Tensor => arange(seq).add(sizeOf(past));

/** A table of vectors, of which position 0 has that of row `offset`. */
export class PositionTable extends Module implements Positions {
  readonly weight: Parameter;

  /** `isTrained`: whether training changes the table. */
  constructor(
    count: number,
    size: number,
    readonly offset: number,
    isTrained: boolean,
  ) {
    super();
    const shape = [count + offset, size];
    this.weight = isTrained ? new Parameter(shape) : new FixedParameter(shape, normal());
  }

  forward(inputIds: Tensor, past: DimLike): Tensor {
    const places = placesOf(inputIds.shape[1], past);
    return this.weight.stored.gather(this.offset === 0 ? places : places.add(this.offset)).cast('f32');
  }
}

/** sin(p w₀), sin(p w₁), …, cos(p w₀), cos(p w₁), … for positions p from 0 on. */
function sines(count: number, size: number, frequency: (index: number) => number): Float32Array {
  const half = Math.ceil(size / 2);
  const frequencies = Array.from({ length: half }, (_, i) => frequency(i));
  const table = new Float32Array(count * size);
  for (let i = 0; i < table.length; i++) {
    const [p, at] = [Math.floor(i / size), i % size];
    table[i] = at < half ? Math.sin(p * frequencies[at]) : Math.cos(p * frequencies[at - half]);
  }
  return table;
}

/** Sines whose wavelengths grow from 2π to 10000 · 2π. */
export class SinusoidalPositions extends Module implements Positions {
  readonly table: Constant;

  constructor(count: number, size: number) {
    super();
    this.table = new Constant(
      sines(count, size, (i) => 10000 ** ((-2 * i) / size)),
      [count, size],
    );
  }

  forward(inputIds: Tensor, past: DimLike): Tensor {
    return this.table.value.gather(placesOf(inputIds.shape[1], past));
  }
}

/** The same for tokens other than padding alone, counted from the one behind the padding token; padding has zeros. */
export class CountedPositions extends Module implements Positions {
  readonly table: Constant;
  readonly #padding: number;

  constructor(count: number, size: number, padding: number) {
    super();
    const rows = count + padding + 1;
    const last = Math.max(1, Math.floor(size / 2) - 1);
    const table = sines(rows, size, (i) => 10000 ** (-i / last));
    this.table = new Constant(table.fill(0, padding * size, (padding + 1) * size), [rows, size]);
    this.#padding = padding;
  }

  forward(inputIds: Tensor, past: DimLike): Tensor {
    const isToken = inputIds.ne(this.#padding).cast('i32');
    const places = isToken.cumsum(1).add(sizeOf(past)).mul(isToken);
    return this.table.value.gather(places.add(this.#padding));
  }
}
