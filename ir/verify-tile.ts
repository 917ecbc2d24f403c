// Rules of matrix instructions and of the copies that feed them:
//
// - 17: A fragment is of a tile that the target has, in a role that is known; where a target has registers for so many
//   fragments, no more are visible. A product is of two operands and a sum of one tile, the operands being loaded before.
// - 18: Operands are loaded, sums are stored, in the types of the tile: those of a tile of several threads from panels in
//   group memory, whose rows are 32, 64 or 128 bytes long, at rows and columns that are multiples of the tile's; those of
//   a tile of one thread from any memory. A sum is scaled by f32 in group memory, and stored there at an even place.
// - 19: A copy is from bound memory to group memory of the same type, of a known number of elements.
// - 20: Memory that copies bring is read, and memory over it is used, after a wait and then a barrier; in a loop that copies
//   into it, after those of the same iteration.
import { dtypeInfo } from './dtype.ts';
import type { Expr, ScalarType, Stmt } from './loop.ts';
import { panelRowBytes } from './panel.ts';
import type { Target, Tile } from './target.ts';
import type { FragmentRole, TileStmt } from './tile.ts';
import { checkCondition, checkIndex, type ExprScope } from './verify-expr.ts';

export interface Fragment {
  readonly tile: Tile;
  readonly role: FragmentRole;
}

/** Memory that a kernel sees: bound to it, or its own. */
export interface Memory {
  readonly dtype: ScalarType;
  readonly space: 'bound' | 'group' | 'thread';
  readonly access: 'read' | 'write' | 'readwrite';
  /** Bytes of the kernel's own memory. */
  readonly bytes: number;
  /** The memory that it lies over, or itself. */
  readonly root: string;
}

/** What the rules know of the place where a statement stands. */
export interface TileScope extends ExprScope {
  readonly target: Pick<Target, 'tiles' | 'groupThreads'>;
  /** Those visible, and those of them that were loaded. */
  readonly fragments: ReadonlyMap<string, Fragment>;
  readonly loaded: ReadonlySet<string>;
  declareFragment(name: string, fragment: Fragment): void;
  markLoaded(name: string): void;
  /** Visible memory; of a type that is read, or written. Throws where there is none. */
  memory(name: string): Memory;
  reads(buffer: string, dtype: ScalarType, rule: number): Memory;
  writes(buffer: string, dtype: ScalarType, rule: number): Memory;
  /** A power of two up to 16 that divides an index. */
  factor(e: Expr): number;
  readonly copies: CopyState;
}

const kinds: ReadonlySet<string> = new Set<TileStmt<Expr>['kind']>([
  'fragment', 'tile_load', 'tile_read', 'tile_multiply', 'tile_scale', 'tile_store', 'copy', 'copy_batch', 'copy_wait',
]); // biome-ignore format: one row
export const isTileStmt = (s: Stmt): s is TileStmt<Expr> => kinds.has(s.kind);

export function checkTile(s: TileStmt<Expr>, scope: TileScope): void {
  const { tiles, groupThreads } = scope.target;
  switch (s.kind) {
    case 'fragment': {
      const tile = tiles.find(({ name }) => name === s.tile);
      if (!tile) scope.fail(17, `the target has no tile '${s.tile}'`);
      if (s.role !== 'left' && s.role !== 'right' && s.role !== 'sum') scope.fail(17, 'a fragment has an unknown role');
      const taken = [...scope.fragments.values()].filter((f) => f.tile.registers !== undefined).length;
      if (tile.registers !== undefined && taken >= tile.registers) {
        scope.fail(17, 'more matrices than there are registers for');
      }
      return scope.declareFragment(s.name, { tile, role: s.role });
    }
    case 'tile_load':
      return checkLoad(s, scope);
    case 'tile_read': {
      const { tile, role } = fragmentOf(s.fragment, scope);
      if (tile.threads > 1) scope.fail(18, 'a tile of several threads is loaded from a panel');
      checkIndex(s.index, scope, 18);
      checkPitch(s.pitch, scope);
      scope.reads(s.buffer, role === 'sum' ? tile.accumulator : tile.operands, 18);
      return scope.markLoaded(s.fragment);
    }
    case 'tile_multiply': {
      const [sum, left, right] = [s.sum, s.left, s.right].map((name) => fragmentOf(name, scope));
      const fits = left.tile === sum.tile && right.tile === sum.tile;
      if (!fits || sum.role !== 'sum' || left.role !== 'left' || right.role !== 'right') {
        scope.fail(17, 'a tile multiplies operands that are not its own');
      }
      const absent = [s.left, s.right].find((name) => !scope.loaded.has(name));
      if (absent !== undefined) scope.fail(17, `'${absent}' is multiplied before it is loaded`);
      return;
    }
    case 'tile_scale':
    case 'tile_store':
      return checkSum(s, scope);
    case 'copy':
    case 'copy_batch':
    case 'copy_wait':
      if (groupThreads === 1) {
        scope.fail(13, `a '${s.kind}' in a kernel for a target whose tasks are single threads`);
      }
      return checkCopy(s, scope);
    default:
      s satisfies never;
  }
}

function checkLoad(s: TileStmt<Expr> & { kind: 'tile_load' }, scope: TileScope): void {
  const { tile, role } = fragmentOf(s.fragment, scope);
  if (tile.threads === 1) scope.fail(18, 'a tile of one thread is no panel');
  if (role === 'sum') scope.fail(18, 'a sum is not loaded');
  if (scope.reads(s.panel, tile.operands, 18).space !== 'group') scope.fail(18, 'a panel lies in group memory');
  checkPitch(s.pitch, scope);
  const bytes = s.pitch * dtypeInfo[tile.operands].bytes;
  if (!panelRowBytes.includes(bytes)) scope.fail(18, `a panel cannot have rows of ${bytes} bytes`);
  if (typeof s.transposed !== 'boolean') scope.fail(18, 'a panel is transposed or not');
  checkIndex(s.row, scope, 18);
  checkIndex(s.column, scope, 18);
  if (scope.factor(s.row) < 16 || scope.factor(s.column) < 16) scope.fail(18, 'a tile lies across tiles of its panel');
  scope.markLoaded(s.fragment);
}

function checkSum(s: TileStmt<Expr> & { kind: 'tile_scale' | 'tile_store' }, scope: TileScope): void {
  const { tile, role } = fragmentOf(s.kind === 'tile_scale' ? s.sum : s.fragment, scope);
  if (role !== 'sum') scope.fail(18, 'a tile scales or stores something else than a sum');
  checkIndex(s.index, scope, 18);
  if (s.kind === 'tile_scale') {
    if (tile.threads === 1) scope.fail(18, 'a tile of one thread is not scaled');
    if (scope.reads(s.buffer, tile.accumulator, 18).space !== 'group')
      scope.fail(18, 'rows are scaled by group memory');
    return;
  }
  checkPitch(s.pitch, scope);
  const { space } = scope.writes(s.buffer, tile.accumulator, 18);
  if (tile.threads === 1) return;
  if (space !== 'group') scope.fail(18, 'a tile of several threads stores to group memory');
  if (s.pitch % 2 !== 0 || scope.factor(s.index) < 2) scope.fail(18, 'a tile stores to an odd place');
}

function checkCopy(s: TileStmt<Expr> & { kind: 'copy' | 'copy_batch' | 'copy_wait' }, scope: TileScope): void {
  switch (s.kind) {
    case 'copy': {
      checkIndex(s.at, scope, 19);
      checkIndex(s.index, scope, 19);
      checkCondition(s.inside, scope, 19);
      if (![1, 2, 4, 8, 16].includes(s.lanes)) scope.fail(19, 'a copy has an odd number of lanes');
      const { dtype, space, root } = scope.memory(s.to);
      if (space !== 'group' || root !== s.to) scope.fail(19, 'a copy is to group memory');
      if (scope.reads(s.from, dtype, 19).space !== 'bound') scope.fail(19, 'a copy is from memory that is bound');
      return;
    }
    case 'copy_batch':
      return;
    case 'copy_wait':
      if (!Number.isSafeInteger(s.pending) || s.pending < 0 || s.pending > 7) {
        scope.fail(19, 'a thread waits for all but 0 to 7 batches');
      }
      return scope.copies.wait();
    default:
      s satisfies never;
  }
}

function fragmentOf(name: string, scope: TileScope): Fragment {
  return scope.fragments.get(name) ?? scope.fail(1, `unknown fragment '${name}'`);
}

function checkPitch(pitch: number, scope: TileScope): void {
  if (!Number.isSafeInteger(pitch) || pitch < 1) scope.fail(18, 'a pitch must be a positive integer');
}

/** Rule 20, along the walk over a kernel: whether copies were waited for, and all threads came to a barrier after that. */
export class CopyState {
  private progress: 'none' | 'waited' | 'arrived' = 'none';
  /** Memory that copies bring. */
  private readonly brought: ReadonlySet<string>;

  constructor(body: readonly Stmt[]) {
    this.brought = targetsIn(body);
  }

  wait(): void {
    if (this.progress === 'none') this.progress = 'waited';
  }

  arrive(): void {
    if (this.progress === 'waited') this.progress = 'arrived';
  }

  /** Whether memory may be read now, or used where it lies over other memory. */
  allows({ root }: Memory): boolean {
    return this.progress === 'arrived' || !this.brought.has(root);
  }

  /** Walks the body of a loop, which may run several times or not at all. */
  loop(body: readonly Stmt[], walk: () => void): void {
    const before = this.progress;
    const copies = this.brought.size > 0 && targetsIn(body).size > 0;
    if (copies) this.progress = 'none';
    walk();
    this.progress = copies ? 'none' : before;
  }

  branches(...walks: readonly (() => void)[]): void {
    const before = this.progress;
    const after = walks.map((walk) => {
      this.progress = before;
      walk();
      return this.progress;
    });
    this.progress = after.every((p) => p === after[0]) ? after[0] : before;
  }
}

function targetsIn(body: readonly Stmt[]): ReadonlySet<string> {
  const found = new Set<string>();
  const visit = (s: Stmt): void => {
    if (s.kind === 'copy') found.add(s.to);
    else if (s.kind === 'for') s.body.forEach(visit);
    else if (s.kind === 'if') for (const branch of [s.then, s.otherwise]) branch.forEach(visit);
  };
  body.forEach(visit);
  return found;
}
