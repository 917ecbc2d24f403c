// Panels: the operands of a product as its tiles want them, in private memory and in the type of the tiles. Lines (rows of
// the left operand, columns of the right one) of the left operand lie one below another, each along the contracted axis;
// those of the right operand side by side, in words of 32 bits that hold elements which follow one another along it.
// Whichever way an operand lies in memory, it is read in vectors, and transposed in registers where it lies the other
// way; only what lies neither way is brought one element at a time.
import type { DType } from '../../../ir/dtype.ts';
import { add, alu, cast, constant, type Expr, floorDiv, index, modulo, mul, sub, zip } from '../../../ir/loop.ts'; // biome-ignore format: one row
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
  /** Positions are filled up with zeros to a multiple of this. */
  readonly multiple: number;
}

/** Lines are packed `lanes` at a time. */
interface Panel {
  readonly buffer: string;
  readonly dtype: DType;
  readonly lanes: number;
}
/** Position j of line i: buffer[base + i * pitch + j]. */
export interface RowPanel extends Panel {
  readonly base: Expr;
  readonly pitch: number;
}
/** Position j of line v * lanes + i: element j % word of word i from places[v] + (j / word) * pitch on. */
export interface ColumnPanel extends Panel {
  readonly places: readonly Expr[];
  readonly pitch: number;
  readonly word: number;
}

/** The first of several ways that can be had in vectors. */
function attempt(emitter: Emitter, ways: readonly (() => void)[], otherwise: () => void): void {
  for (const way of ways) {
    try {
      return emitter.builder.attempt(way);
    } catch (error) {
      if (!(error instanceof NotVectorisable)) throw error;
    }
  }
  otherwise();
}

/** Packs `lanes` rows. */
export function packRows(emitter: Emitter, lines: Lines, panel: RowPanel): void {
  const { builder } = emitter;
  const { buffer, dtype, lanes, base, pitch } = panel;
  const at = (i: Expr, j: Expr) => add(add(base, mul(i, index(pitch))), j);
  const elements = (start: Expr) =>
    builder.for(index(0), index(lanes), 1, (i) => {
      const line = builder.let(lineAt(lines, i));
      padded(emitter, lines, start, (j, element) => builder.store(buffer, at(i, j), cast(element(line), dtype)));
    });
  const inVectors = wholeVectors(emitter, lines, lanes);
  const alongDepth = () => {
    builder.for(index(0), index(lanes), 1, (i) => {
      const line = builder.let(lineAt(lines, i));
      builder.for(index(0), inVectors, lanes, (j) =>
        builder.store(buffer, at(i, j), vectorAlongDepth(emitter, lines, line, j, panel)),
      );
    });
    if (!isAll(lines, inVectors)) elements(inVectors);
  };
  const alongLines = () => {
    const vectors = () => {
      builder.for(index(0), inVectors, lanes, (j) => {
        const rows = Array.from({ length: lanes }, (_, u) =>
          vectorAlongLines(emitter, lines, index(0), add(j, index(u)), panel),
        );
        transposed(emitter, rows).forEach((row, i) => builder.store(buffer, at(index(i), j), row));
      });
      if (!isAll(lines, inVectors)) elements(inVectors);
    };
    builder.if(alu('le', add(lines.first, index(lanes)), lines.limit), vectors, () => elements(index(0)));
  };
  attempt(emitter, [alongDepth, alongLines], () => elements(index(0)));
}

/** Packs `lanes` columns for each of the places. */
export function packColumns(emitter: Emitter, lines: Lines, panel: ColumnPanel): void {
  const { builder } = emitter;
  const { buffer, dtype, lanes, places, pitch, word } = panel;
  const elements = (start: Expr) =>
    places.forEach((place, v) =>
      builder.for(index(0), index(lanes), 1, (i) => {
        const line = builder.let(lineAt(lines, add(i, index(v * lanes))));
        padded(emitter, lines, start, (j, element) => {
          const at = add(place, add(mul(floorDiv(j, index(word)), index(pitch)), modulo(j, index(word))));
          builder.store(buffer, add(at, mul(i, index(word))), cast(element(line), dtype));
        });
      }),
    );
  /** Stores vectors of `word` positions from j on. */
  const words = (place: Expr, j: Expr, vectors: readonly Expr[]) => {
    const at = add(place, mul(floorDiv(j, index(word)), index(pitch)));
    if (word === 1) return builder.store(buffer, at, vectors[0]);
    const [even, odd] = vectors;
    builder.store(buffer, at, zip('low', even, odd));
    builder.store(buffer, add(at, index(lanes)), zip('high', even, odd));
  };
  const range = (n: number) => Array.from({ length: n }, (_, i) => i);
  const alongLines = () => {
    const whole = wholeVectors(emitter, lines, word);
    const vectors = () => {
      builder.for(index(0), whole, word, (j) => {
        const values = places.map((_, v) =>
          range(word).map((u) => vectorAlongLines(emitter, lines, index(v * lanes), add(j, index(u)), panel)),
        );
        values.forEach((pair, v) => words(places[v], j, pair));
      });
      if (!isAll(lines, whole)) elements(whole);
    };
    const all = add(lines.first, index(lanes * places.length));
    builder.if(alu('le', all, lines.limit), vectors, () => elements(index(0)));
  };
  const alongDepth = () => {
    const whole = wholeVectors(emitter, lines, lanes);
    places.forEach((place, v) => {
      const own = range(lanes).map((i) => builder.let(lineAt(lines, index(v * lanes + i))));
      builder.for(index(0), whole, lanes, (j) => {
        const rows = transposed(
          emitter,
          own.map((line) => vectorAlongDepth(emitter, lines, line, j, panel)),
        );
        for (let u = 0; u < lanes; u += word) words(place, add(j, index(u)), rows.slice(u, u + word));
      });
    });
    if (!isAll(lines, whole)) elements(whole);
  };
  attempt(emitter, [alongLines, alongDepth], () => elements(index(0)));
}

const lineAt = ({ first, limit }: Lines, i: Expr): Expr => alu('min', add(first, i), sub(limit, index(1)));

/** The positions that make whole vectors. */
const wholeVectors = ({ builder }: Emitter, { depth }: Lines, size: number): Expr =>
  builder.let(mul(alu('div', depth, index(size)), index(size)));

/** Whether they are all that there are, zeros included. */
const isAll = ({ depth, multiple }: Lines, whole: Expr): boolean =>
  whole.kind === 'const' && depth.kind === 'const' && Math.ceil(depth.value / multiple) * multiple === whole.value;

function vectorAlongDepth(emitter: Emitter, lines: Lines, line: Expr, j: Expr, { dtype, lanes }: Panel): Expr {
  const value = emitter.vector(lanes, (lane) =>
    emitter.full(cast(lines.element(line, add(add(lines.k0, j), lane)), dtype)),
  );
  return emitter.builder.let(value);
}

function vectorAlongLines(emitter: Emitter, lines: Lines, i: Expr, j: Expr, { dtype, lanes }: Panel): Expr {
  const value = emitter.vector(lanes, (lane) =>
    cast(lines.element(add(add(lines.first, i), lane), add(lines.k0, j)), dtype),
  );
  if (value.lanes !== lanes) throw new NotVectorisable(); // the same for all lines
  return emitter.builder.let(value);
}

/** Single elements from position `start` on, and zeros to the multiple. */
function padded(
  emitter: Emitter,
  { element, k0, depth, multiple }: Lines,
  start: Expr,
  each: (j: Expr, element: (line: Expr) => Expr) => void,
): void {
  const { builder } = emitter;
  builder.for(start, depth, 1, (j) => each(j, (line) => element(line, add(k0, j))));
  if (multiple === 1 || (depth.kind === 'const' && depth.value % multiple === 0)) return;
  const end = builder.let(mul(floorDiv(add(depth, index(multiple - 1)), index(multiple)), index(multiple)));
  builder.for(depth, end, 1, (j) => each(j, () => constant(0, 'f32')));
}

/** As many vectors as they have lanes, transposed. */
function transposed({ builder }: Emitter, vectors: readonly Expr[]): readonly Expr[] {
  const half = vectors.length / 2;
  let all = vectors;
  for (let size = 1; size < vectors.length; size *= 2) {
    all = all
      .slice(0, half)
      .flatMap((low, i) => [builder.let(zip('low', low, all[i + half])), builder.let(zip('high', low, all[i + half]))]);
  }
  return all;
}
