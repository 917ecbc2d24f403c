// Operands of tiles as panels in group memory. Pieces of a row that lie in memory as they are wanted come by copies, which
// the caller waits for; others are computed (converted, dequantized) and stored.
import { type DType, dtypeInfo } from '../../../ir/dtype.ts';
import { add, alu, constant, type Expr, floorDiv, index, lessThan, modulo, mul, select, sub } from '../../../ir/loop.ts'; // biome-ignore format: one row
import { panelPieceBytes, panelPlace } from '../../../ir/panel.ts';
import { type Emitter, NotVectorisable } from '../emit.ts';

/** Rows of an operand, to be lines of a panel. */
export interface PanelRows {
  readonly dtype: DType;
  readonly count: number;
  /** The element of row i at `along`. */
  element(i: Expr, along: Expr): Expr;
  /** The elements of a row. */
  readonly size: Expr;
}

/**
 * Lines `line` and following of a panel = `pitch` elements of rows from `start` on, 0 where that is beyond their end.
 * `line` is a multiple of 16.
 */
export function bringRows(
  emitter: Emitter,
  { dtype, count, element, size }: PanelRows,
  start: Expr,
  panel: string,
  line: Expr,
  pitch: number,
): void {
  const { builder } = emitter;
  const { bytes } = dtypeInfo[dtype];
  const isWhole = size.kind === 'const' && size.value % pitch === 0;
  const each = (
    lanes: number,
    alongRows: boolean,
    body: (place: Expr, i: Expr, along: Expr, inside: Expr) => void,
  ): void => {
    const pieces = pitch / lanes;
    builder.for(
      index(0),
      index(count * pieces),
      1,
      (e) => {
        const i = builder.let(alongRows ? floorDiv(e, index(pieces)) : modulo(e, index(count)));
        const j = builder.let(mul(alongRows ? modulo(e, index(pieces)) : floorDiv(e, index(count)), index(lanes)));
        const place = builder.let(add(mul(line, index(pitch)), panelPlace(pitch, bytes, i, j)));
        const along = add(start, j);
        const inside = isWhole ? constant(1, 'bool') : lessThan(along, size);
        body(place, i, builder.let(isWhole ? along : alu('min', along, sub(size, index(lanes)))), inside);
      },
      'group',
    );
  };
  const guarded = (inside: Expr, value: Expr): Expr =>
    isWhole ? value : select(inside, value, constant(0, dtype, value.lanes));
  const scalars = (): void =>
    each(1, !emitter.isContiguous((lane) => element(lane, start)), (place, i, along, inside) =>
      builder.store(panel, place, guarded(inside, element(i, along))),
    );
  const lanes = panelPieceBytes / bytes;
  if (!(size.kind === 'const' && size.value % lanes === 0)) return scalars();
  try {
    builder.attempt(() =>
      each(lanes, true, (place, i, along, inside) => {
        const piece = (): Expr => emitter.vector(lanes, (lane) => emitter.full(element(i, add(along, lane))));
        const source = sourceOf(emitter, piece);
        if (!source) return builder.store(panel, place, guarded(inside, piece()));
        builder.emit({ kind: 'copy', to: panel, at: place, from: source.buffer, index: source.index, lanes, inside });
      }),
    );
  } catch (error) {
    if (!(error instanceof NotVectorisable)) throw error;
    scalars();
  }
}

/** The load that `build` comes down to, if it computes nothing but indices; those are emitted then. */
function sourceOf({ builder }: Emitter, build: () => Expr): (Expr & { kind: 'load' }) | undefined {
  let value: Expr | undefined;
  const block = builder.block(() => {
    value = build();
  });
  const indices = block.filter((s) => s.kind === 'let' && s.value.dtype === 'index');
  const [own] = block.filter((s) => s.kind === 'let' && value?.kind === 'var' && s.name === value.name);
  const found = own?.kind === 'let' ? own.value : value;
  if (found?.kind !== 'load' || block.length !== indices.length + (own ? 1 : 0)) return undefined;
  for (const s of indices) builder.emit(s);
  return found;
}
