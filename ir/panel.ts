// Panels: the layout of group memory that operands of matrix instructions come from.
import { add, alu, type Expr, floorDiv, index, modulo, mul } from './loop.ts';

/** Bytes that threads read of a panel's row at once. */
export const panelPieceBytes = 16;
/** Bytes of a panel's row: with these the order of pieces brings threads to different banks of memory. */
export const panelRowBytes: readonly number[] = [32, 64, 128];

/**
 * Where element (row, column) of a panel lies. 128 bytes of the panel hold one or more rows; their pieces of 16 bytes
 * change places, each to the exclusive or of its number in the row and the number of the 128 bytes. Then pieces one below
 * another lie in different banks. It is the order that tensor cores which read group memory themselves know.
 */
export function panelPlace(pitch: number, elementBytes: number, row: Expr, column: Expr): Expr {
  const piece = panelPieceBytes / elementBytes;
  const pieces = pitch / piece;
  const line = modulo(floorDiv(row, index(8 / pieces)), index(pieces));
  const place = alu('xor', floorDiv(column, index(piece)), line);
  return add(mul(row, index(pitch)), add(mul(place, index(piece)), modulo(column, index(piece))));
}
