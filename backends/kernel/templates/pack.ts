// Panels: an operand of a product as its inner loop wants it, in private memory. Lines (rows of the left operand, columns
// of the right one) stand side by side in vectors, one vector after another along the contracted axis. Whichever way the
// operand lies in memory, it is read in vectors: along its lines they are stored as they come, along the contracted axis
// a block of them is transposed in registers; only what lies neither way is brought one element at a time.
import { add, alu, cast, type Expr, index, mul, sub, zip } from '../../../ir/loop.ts';
import { type Emitter, NotVectorisable } from '../emit.ts';

/** Lines of an operand, and the stretch of the contracted axis that is packed. */
export interface Lines {
  /** The element of a line at a position of the contracted axis. */
  element(line: Expr, k: Expr): Expr;
  readonly first: Expr;
  /** Lines that there are: beyond them, the last one is repeated. */
  readonly limit: Expr;
  readonly k0: Expr;
  readonly depth: Expr;
}

/** Where they go: vector v of lines at position j to buffer[places[v] + j * pitch]. */
export interface Panel {
  readonly buffer: string;
  readonly lanes: number;
  readonly places: readonly Expr[];
  readonly pitch: number;
}

export function packPanel(emitter: Emitter, lines: Lines, panel: Panel): void {
  for (const pack of [packAlongLines, packTransposed]) {
    try {
      return emitter.builder.attempt(() => pack(emitter, lines, panel));
    } catch (error) {
      if (!(error instanceof NotVectorisable)) throw error;
    }
  }
  packElements(emitter, lines, panel, index(0));
}

/** Lines lie side by side in memory. */
function packAlongLines(emitter: Emitter, lines: Lines, panel: Panel): void {
  const { builder } = emitter;
  const { first, limit, k0, depth } = lines;
  const { buffer, lanes, places, pitch } = panel;
  const vectors = () =>
    builder.for(index(0), depth, 1, (j) => {
      const values = emitter.vector(lanes, (lane) =>
        places.map((_, v) => builder.let(f32(lines.element(add(add(first, index(v * lanes)), lane), add(k0, j))))),
      );
      if (values.some((value) => value.lanes !== lanes)) throw new NotVectorisable(); // the same for all lines
      values.forEach((value, v) => builder.store(buffer, add(places[v], mul(j, index(pitch))), value));
    });
  const all = add(first, index(lanes * places.length));
  builder.if(alu('le', all, limit), vectors, () => packElements(emitter, lines, panel, index(0)));
}

/** Positions lie side by side in memory. */
function packTransposed(emitter: Emitter, lines: Lines, panel: Panel): void {
  const { builder } = emitter;
  const { first, k0, depth } = lines;
  const { buffer, lanes, places, pitch } = panel;
  const whole = builder.let(mul(alu('div', depth, index(lanes)), index(lanes)));
  places.forEach((place, v) => {
    const own = Array.from({ length: lanes }, (_, i) => builder.let(clamped(lines, add(first, index(v * lanes + i)))));
    builder.for(index(0), whole, lanes, (j) => {
      let vectors = emitter.vector(lanes, (lane) =>
        own.map((line) => builder.let(emitter.full(f32(lines.element(line, add(add(k0, j), lane)))))),
      );
      for (let size = 1; size < lanes; size *= 2) {
        const half = lanes / 2;
        vectors = vectors.flatMap((_, i) => {
          if (i >= half) return [];
          const pair = [vectors[i], vectors[i + half]] as const;
          return [builder.let(zip('low', ...pair)), builder.let(zip('high', ...pair))];
        });
      }
      vectors.forEach((value, i) => builder.store(buffer, add(place, mul(add(j, index(i)), index(pitch))), value));
    });
  });
  const isWhole = whole.kind === 'const' && depth.kind === 'const' && whole.value === depth.value;
  if (!isWhole) packElements(emitter, lines, panel, whole);
}

function packElements(emitter: Emitter, lines: Lines, { buffer, lanes, places, pitch }: Panel, start: Expr): void {
  const { builder } = emitter;
  const { first, k0, depth } = lines;
  places.forEach((place, v) =>
    builder.for(index(0), index(lanes), 1, (i) => {
      const line = builder.let(clamped(lines, add(first, add(i, index(v * lanes)))));
      builder.for(start, depth, 1, (j) => {
        builder.store(buffer, add(add(place, mul(j, index(pitch))), i), f32(lines.element(line, add(k0, j))));
      });
    }),
  );
}

const f32 = (value: Expr): Expr => cast(value, 'f32');
const clamped = ({ limit }: Lines, line: Expr): Expr => alu('min', line, sub(limit, index(1)));
