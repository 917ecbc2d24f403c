// Matrix instructions in kernels: the statements that use a target's tiles, over expressions `E`.

export type FragmentRole = 'left' | 'right' | 'sum';

/**
 * Matrix instructions and the copies that feed them; only targets whose record lists tiles see these, and all threads of
 * the group execute them together. A tile of one thread reads and stores memory of that thread as it lies
 * (`tile_read`). Operands lie in panels: rows of `pitch` elements in group memory, in the order of `panelPlace` (panel.ts). Rows and columns are the same for the threads of a tile, and multiples of the tile's sizes.
 */
export type TileStmt<E> =
  /** Declares a fragment: one operand of a tile, or its sum, which starts at 0. */
  | { readonly kind: 'fragment'; readonly name: string; readonly tile: string; readonly role: FragmentRole }
  /**
   * Makes a fragment the operand whose first element is at (row, column) of a panel; its rows are the panel's, or the
   * panel's columns where it is `transposed`.
   */
  | {
      readonly kind: 'tile_load';
      readonly fragment: string;
      readonly panel: string;
      readonly pitch: number;
      readonly row: E;
      readonly column: E;
      readonly transposed: boolean;
    }
  /**
   * Of tiles that one thread executes: makes a fragment what lies in its memory, in rows `pitch` elements apart. A left
   * operand is m rows of k elements, a sum m rows of n. A right operand has its columns side by side, in words of 32
   * bits that hold w elements which follow one another along k: k / w rows of n * w elements.
   */
  | {
      readonly kind: 'tile_read';
      readonly fragment: string;
      readonly buffer: string;
      readonly index: E;
      readonly pitch: number;
    }
  /** sum += left * right, transposed. */
  | { readonly kind: 'tile_multiply'; readonly sum: string; readonly left: string; readonly right: string }
  /** Multiplies row i of a sum by buffer[index + i], an f32 in group memory. */
  | { readonly kind: 'tile_scale'; readonly sum: string; readonly buffer: string; readonly index: E }
  /** Stores a sum in memory of the group, or of the thread: element (i, j) at index + i * pitch + j. */
  | {
      readonly kind: 'tile_store';
      readonly fragment: string;
      readonly buffer: string;
      readonly index: E;
      readonly pitch: number;
    }
  /**
   * Copies `lanes` consecutive elements to group memory, or zeros unless `inside`. It may take until the thread waits for
   * it; only then, and after a barrier, do others see the elements.
   */
  | {
      readonly kind: 'copy';
      readonly to: string;
      readonly at: E;
      readonly from: string;
      readonly index: E;
      readonly lanes: number;
      readonly inside: E;
    }
  /** Makes a batch of the thread's copies since the last batch. */
  | { readonly kind: 'copy_batch' }
  /** The thread waits until at most `pending` of its batches are under way. */
  | { readonly kind: 'copy_wait'; readonly pending: number };
