// All heuristics of kernel generation, as numbers. Nothing here affects what a kernel computes.
import type { Dim } from '../../ir/dim.ts';
import { type DType, dtypeInfo } from '../../ir/dtype.ts';
import type { Target, Tile } from '../../ir/target.ts';

/** f32 lanes of a vector register. */
export const lanesOf = (target: Target): number => target.vectorBytes / 4;

/** Rows of a usual run, where their number is open; more come with batches. */
const usualRows = 512;

/** How an elementwise kernel splits its result: whole rows, or pieces of long rows. */
export function mapSplit(rows: Dim, inner: Dim): { rowsPerTask: number; piece: number } {
  const work = 16384; // elements that make a task worth handing out
  if (inner.max > 2 * work && rows.min <= 4) return { rowsPerTask: 1, piece: work };
  return { rowsPerTask: Math.max(1, Math.floor(work / Math.max(1, inner.max))), piece: 0 };
}

/** Positions of a scatter in one task: every task goes through all updates, so there are not too many. */
export const scatterRange = (inner: Dim): number => Math.max(1, Math.floor(65536 / Math.max(1, inner.max)));

/** Rows of a row kernel (norm, softmax) in one task. */
export const rowsPerTask = (inner: Dim): number => Math.max(1, Math.floor(8192 / Math.max(1, inner.max)));

export interface MatvecTile {
  /** Result columns (weight rows) of one task. */
  columns: number;
  /** Independent accumulators along k. */
  unroll: number;
}
/** Tasks of about 256 KiB of weights, at least a few per thread; a narrow product gets smaller ones. */
export function matvecTile(target: Target, n: number, k: number, weightBytes: number): MatvecTile {
  const bySize = Math.floor((256 * 1024) / (k * weightBytes));
  const byThreads = Math.floor(n / (4 * target.threads));
  return { columns: Math.max(1, Math.min(bySize, byThreads)), unroll: 4 };
}

/** Sizes of a matrix product: entries of its batch, rows, columns, and the contracted axes together. */
export type ProductSizes = Readonly<Record<'batch' | 'rows' | 'columns' | 'depth', Dim>>;

export interface MatmulTile {
  readonly tile: Tile;
  /** Tiles of the register block along the rows, and along the columns of each of the region's products. */
  readonly rows: number;
  readonly vectors: number;
  /** Depth of the packed panels. */
  readonly depth: number;
  /** Rows of a task: a multiple of the register block's. */
  readonly block: number;
  /** Columns of a task, for each product: a multiple of the register block's. */
  readonly columns: number;
}
/**
 * The register block fills the registers: rows x vectors sums, the right operands of a step and a left one; it loads
 * little for a multiplication, and wastes few columns. The panel of a task's rows takes half of the private cache. A task
 * has as many rows and columns as leave each thread a few tasks: the larger they are, the more often what is packed is
 * used. Operands that no tile takes are converted to f32.
 */
export function matmulTile(
  target: Target,
  operands: DType,
  products: number,
  { batch, rows: m, columns: n, depth: k }: ProductSizes,
): MatmulTile {
  const shapes = [operands, 'f32'].flatMap((dtype) =>
    target.tiles
      .filter((tile) => tile.operands === dtype && tile.accumulator === 'f32')
      .flatMap((tile) =>
        [3, 2, 1].flatMap((vectors) => {
          const perRow = vectors * products;
          const fitting = Math.floor(((tile.registers ?? target.vectorRegisters) - 1 - perRow) / perRow);
          if (fitting < 1 && (vectors > 1 || tile.registers)) return [];
          const rows = Math.min(8, 2 ** Math.floor(Math.log2(Math.max(1, fitting))));
          const strip = vectors * tile.n;
          const cost = Math.ceil(n.max / strip) * strip * (1 + (rows + perRow) / (2 * rows * perRow));
          return [{ tile, rows, vectors, strip, cost }];
        }),
      ),
  );
  const [{ tile }] = shapes;
  const { rows, vectors, strip } = shapes.filter((s) => s.tile === tile).reduce((a, b) => (b.cost < a.cost ? b : a));
  const usual = Math.min(m.max, Math.max(m.min, usualRows));
  const fits = ([height, strips]: readonly [number, number]) =>
    Math.ceil(usual / height) * Math.ceil(n.max / (strips * strip)) * Math.max(1, batch.min) >= 3 * target.threads;
  const blocks = [[256, 4], [128, 4], [128, 2], [64, 2]] as const; // biome-ignore format: a row
  const [block, strips] = blocks.find(fits) ?? [64, 1];
  const step = 16 * tile.k;
  const limit = Math.floor(target.cacheBytes / 2 / (dtypeInfo[tile.operands].bytes * block));
  const pieces = Math.ceil(Math.max(1, k.max) / Math.max(step, limit));
  const depth = Math.ceil(Math.max(1, k.max) / pieces / step) * step;
  return { tile, rows, vectors, depth, block, columns: Math.min(strips, Math.ceil(n.max / strip)) * strip };
}

export interface AttentionTile {
  /** Query positions of a task. */
  queries: number;
  /** Keys of a block: a multiple of the lanes. */
  keys: number;
  /** Rows of the register tile. */
  rows: number;
}
export function attentionTile(target: Target, seq: Dim, groupHeads: number): AttentionTile {
  const lanes = lanesOf(target);
  const wide = target.vectorRegisters >= 32;
  const queries = Math.max(1, Math.min(seq.max, Math.floor(128 / groupHeads)));
  return { queries, keys: 4 * lanes, rows: Math.min(wide ? 6 : 2, queries * groupHeads) };
}

// ---- groups of threads ----

/** Elements of a map that a thread computes. */
export const elementsPerThread = 4;

/** Kernels that are joined where they run at the same time: text grows with them, and time to compile. */
export const maxSideBySide = 4;

/** Positions of a scatter that a group owns: every group goes through all updates, so there are a few for each thread. */
export function groupScatterRange(target: Target, outer: readonly Dim[], extent: Dim): number {
  const lines = outer.reduce((product, d) => product * Math.max(1, d.min), 1);
  return Math.max(1, Math.ceil((extent.max * lines) / (8 * target.threads)));
}

/** Positions of a reduction from which on the threads of a group share them. */
export const minSharedFold = (target: Target): number => target.groupThreads / 2;

export interface FoldStrip {
  /** Threads side by side, each with `lanes` columns. */
  readonly across: number;
  /** Threads above each other, which take positions in turn. */
  readonly lines: number;
  /** Threads that fold the lines of a column in the end: a power of two. */
  readonly width: number;
}
/**
 * Columns of a group: whole lines of memory, or less where that leaves the target's threads without work, but no less
 * than memory gives at once.
 */
export function foldStrip(target: Target, outer: readonly Dim[], columns: Dim, lanes: number): FoldStrip {
  const widthOf = (across: number) => target.groupThreads / (across * lanes);
  const lineCount = outer.reduce((product, d) => product * Math.max(1, d.min), 1);
  const isBusy = (across: number) => lineCount * Math.ceil(columns.max / (across * lanes)) >= target.threads;
  let across = 32 / lanes;
  while (across * lanes > 8 && widthOf(across / 2) <= 32 && !isBusy(across)) across /= 2;
  return { across, lines: target.groupThreads / across, width: widthOf(across) };
}

/** 32-bit elements of group memory that a template may use; the rest is for reductions over the group. */
export const groupElements = (target: Target): number => Math.floor(target.groupBytes / 4) - 20 * target.groupThreads;

/** Lanes of a load of elements of so many bytes. */
const loadLanes = (target: Target, bytes: number): number =>
  target.accessBytes ? Math.max(1, target.accessBytes / bytes) : lanesOf(target);

export interface GroupMatvecTile {
  /** Lanes of a load of weights. */
  readonly lanes: number;
  /** Threads side by side that share columns, each with a part of k. A power of two. */
  readonly width: number;
  /** Columns that such a run of threads computes at a time: they share what is loaded of the left rows. */
  readonly columns: number;
  /** Left rows that share one pass over the weights. */
  readonly rows: number;
  /** Loads of each column and product under way at a time, for one row. */
  readonly unroll: number;
  /** Whether sums of so many values stay in vectors until the end. */
  keepsVectors(sums: number): boolean;
}
/**
 * Threads side by side read a weight row side by side, in the widest loads. Two columns at a time where that leaves work
 * for all threads of the target. What hides the latency of memory is how many bytes are under way: 8 loads a thread, or 4
 * where there are few registers.
 */
export function groupMatvecTile(
  target: Target,
  { depth, columns: n, products }: { depth: number; columns: number; products: number },
  weightBytes: number,
): GroupMatvecTile {
  const lanes = loadLanes(target, weightBytes);
  let width = Math.min(32, target.groupThreads / 4);
  while (width > 1 && width * lanes > depth) width /= 2;
  const columns = n >= (4 * target.threads * target.groupThreads) / width ? 2 : 1;
  const unroll = Math.max(1, Math.floor(target.vectorRegisters / 4 / (products * columns)));
  return { lanes, width, columns, rows: 4, unroll, keepsVectors: (sums) => sums * lanes <= 64 };
}

export interface GroupMatmulTile {
  /** Threads along the rows and along the columns of a group's tile. */
  readonly across: readonly [rows: number, columns: number];
  /** Rows and columns of a thread's register tile. */
  readonly rows: number;
  readonly columns: number;
  /** Depth of the panels in group memory. */
  readonly depth: number;
}
export function groupMatmulTile(target: Target): GroupMatmulTile {
  const rows = 2 ** Math.floor(Math.log2(target.groupThreads) / 2);
  return { across: [rows, target.groupThreads / rows], rows: 4, columns: 4, depth: 16 };
}

export interface TiledMatmul {
  readonly tile: Tile;
  /** Teams of threads, each of which executes tiles, along the rows and along the columns of a group's block. */
  readonly across: readonly [rows: number, columns: number];
  /** Tiles of a team along the rows, and along the columns of each product. */
  readonly rows: number;
  readonly columns: number;
  /** Depth of the panels in group memory, and how many of them are under way at a time. */
  readonly depth: number;
  readonly stages: number;
}
/**
 * The largest block of the result that leaves two groups for each of the target's threads, or nearly so: the larger the
 * block, the more often what is in group memory is used; while one group waits, the other multiplies. Undefined when the target has no tile for the operands.
 */
export function tiledMatmul(
  target: Target,
  operands: DType,
  products: number,
  { batch, rows: m, columns: n }: ProductSizes,
): TiledMatmul | undefined {
  const tile = target.tiles.find((t) => t.operands === operands && t.accumulator === 'f32');
  if (!tile) return undefined;
  const teams = target.groupThreads / tile.threads;
  const down = 2 ** Math.floor(Math.log2(teams) / 2);
  const across = [down, teams / down] as const;
  const bytes = dtypeInfo[operands].bytes;
  const depth = 64 / bytes;
  const blocks = [[128, 128], [128, 64], [64, 64]].map(([height, width]) => ({
    tile,
    across,
    rows: Math.max(1, Math.floor(height / across[0] / tile.m)),
    columns: Math.max(1, Math.floor(width / products / across[1] / tile.n)),
    depth,
  })); // biome-ignore format: a table
  const fitting = blocks.flatMap((block) => {
    const lines = sides(block)[0] + products * sides(block)[1];
    const stages = Math.min(4, Math.floor(target.groupBytes / (lines * depth * bytes)));
    const sums = (block.rows * block.columns * products * tile.m * tile.n) / tile.threads;
    return stages >= 2 && sums <= 128 ? [{ ...block, stages }] : [];
  });
  const usual = Math.min(m.max, Math.max(m.min, usualRows));
  const isBusy = (block: TiledMatmul) => {
    const [height, width] = sides(block);
    return Math.max(1, batch.min) * Math.ceil(usual / height) * Math.ceil(n.max / width) >= 1.5 * target.threads;
  };
  return fitting.find(isBusy) ?? fitting.at(-1);
}

/** Rows, and columns of each product, of a group's block. */
export const sides = ({ tile, across, rows, columns }: Omit<TiledMatmul, 'stages'>): readonly [number, number] => [
  across[0] * rows * tile.m,
  across[1] * columns * tile.n,
];

export interface GroupAttentionTile {
  /** Query heads (of those that share keys) and query positions of a group. */
  readonly heads: number;
  readonly queries: number;
  /** Keys of a block. */
  readonly keys: number;
}
export interface DecodingAttention {
  /** Lanes of a load of keys or values. */
  readonly lanes: number;
  /** Threads side by side that share a key. A power of two. */
  readonly run: number;
  /** Query heads of a group: a divisor of those that share keys. */
  readonly heads: number;
  /** Keys of a run that are under way at a time. */
  readonly keys: number;
}
/**
 * Attention of one query: as many threads share a key as divide its head in whole loads, and as many heads share it as a
 * thread has registers for. Undefined where heads are of an odd size.
 */
export function decodingAttention(
  target: Target,
  perGroup: number,
  depth: number,
  width: number,
  bytes: number,
): DecodingAttention | undefined {
  const lanes = loadLanes(target, bytes);
  if (depth === 0 || width === 0 || depth % lanes !== 0 || width % lanes !== 0) return undefined;
  const power = (x: number) => x & -x;
  const run = Math.min(32, target.groupThreads / 4, power(depth / lanes), power(width / lanes));
  const perHead = (depth + width) / run;
  const isFitting = (heads: number) =>
    heads * perHead <= 64 && (target.groupThreads / run) * heads * (width + 2) <= groupElements(target);
  const heads = Array.from({ length: perGroup }, (_, i) => perGroup - i).find(
    (n) => perGroup % n === 0 && isFitting(n),
  );
  if (heads === undefined) return undefined;
  return { lanes, run, heads, keys: Math.max(1, Math.min(target.vectorRegisters / 8, Math.floor(64 / perHead))) };
}

/** As many rows as group memory holds queries, outputs and scores of. */
export function groupAttentionTile(
  target: Target,
  seq: Dim,
  perGroup: number,
  depth: number,
  width: number,
): GroupAttentionTile {
  const keys = Math.min(64, target.groupThreads);
  const rows = Math.max(1, Math.min(32, Math.floor(groupElements(target) / (depth + width + keys + 4))));
  const heads = Math.min(perGroup, rows);
  return { heads, queries: Math.max(1, Math.min(seq.max, Math.floor(rows / heads))), keys };
}

export interface TiledAttention {
  readonly tile: Tile;
  /** Query heads (of those that share keys) and query positions of a group, and rows of its tiles. */
  readonly heads: number;
  readonly queries: number;
  readonly rows: number;
  /** Keys of a block. */
  readonly keys: number;
  /** Columns of a panel. */
  readonly pitch: number;
  /** Columns of the output that leave through group memory at a time. */
  readonly staged: number;
}
/** A tile of rows a team, and as long a block of keys as fits. Undefined when tiles do not suit the sizes or the target. */
export function tiledAttention(
  target: Target,
  operands: DType,
  queries: number,
  perGroup: number,
  depth: number,
  width: number,
): TiledAttention | undefined {
  const tile = target.tiles.find((t) => t.operands === operands && t.accumulator === 'f32');
  const bytes = dtypeInfo[operands].bytes;
  const pitch = tile && [128, 64, 32].map((b) => b / bytes).find((p) => depth % p === 0 && width % p === 0);
  if (!pitch || queries * perGroup < tile.m || depth * width === 0) return undefined;
  const rows = (target.groupThreads / tile.threads) * tile.m;
  const heads = Math.min(perGroup, rows);
  const plan = { tile, rows, pitch, heads, queries: Math.floor(rows / heads) };
  const sums = (rows * width) / target.groupThreads;
  return [64, 32, 16].flatMap((keys): TiledAttention[] => {
    const panels = (rows * depth + keys * (depth + width)) * bytes;
    const shared = panels + rows * keys * bytes + 4 * (rows * (keys + 4) + target.groupThreads + rows);
    const staged = [64, 32, 16].find((c) => width % c === 0 && 4 * rows * (c + 4) <= panels);
    return staged && sums <= 128 && shared <= target.groupBytes ? [{ ...plan, keys, staged }] : [];
  })[0];
}
