// Tensor cores: the tiles that GPUs from sm_80 on have, and the statements about them in CUDA C. A fragment is an array of
// registers, laid out as mma.sync wants it. What only PTX can say is a handful of functions; the emulation in the tests has
// its own, by the definition of the PTX instructions, so that a wrong layout gives wrong numbers there too.
import { dtypeInfo } from '../../ir/dtype.ts';
import type { Expr } from '../../ir/loop.ts';
import { panelPieceBytes } from '../../ir/panel.ts';
import type { Tile } from '../../ir/target.ts';
import type { FragmentRole, TileStmt } from '../../ir/tile.ts';
import { memoryType } from '../c/types.ts';
import type { Memory } from './memory.ts';

/** Two instructions m16n8k16 side by side: then both operands are four 8 x 8 matrices, which one ldmatrix loads. */
export const mmaTiles: readonly Tile[] = (['bf16', 'f16'] as const).map((operands) => ({
  name: `mma_${operands}`,
  m: 16,
  n: 16,
  k: 16,
  operands,
  accumulator: 'f32',
  threads: 32,
}));

export interface Fragment {
  /** The name of its array. */
  readonly c: string;
  readonly tile: Tile;
  readonly role: FragmentRole;
}

/** What the printer of a kernel's body offers. */
export interface TileContext {
  /** Those in scope. */
  fragments(): Map<string, Fragment>;
  line(text: string): void;
  fresh(prefix: string): string;
  index(e: Expr): string;
  condition(e: Expr): string;
  memory(name: string): Memory;
  /** A power of two up to 16 that divides an index. */
  factor(e: Expr): number;
}

export function printTile(s: TileStmt<Expr>, p: TileContext): void {
  switch (s.kind) {
    case 'fragment': {
      const tile = mmaTiles.find(({ name }) => name === s.tile)!;
      const c = p.fresh('m'); // not f, as f32 is a type
      p.fragments().set(s.name, { c, tile, role: s.role });
      p.line(s.role === 'sum' ? `f32 ${c}[8] = {0};` : `u32 ${c}[4];`);
      return;
    }
    case 'tile_load': {
      const { c, role } = fragment(p, s.fragment);
      const panel = p.memory(s.panel);
      const bytes = s.pitch * 2;
      const row = `(${p.index(s.row)}) * ${s.pitch}`;
      const column = s.column.kind === 'const' ? `${s.column.value * 2}` : `((i32)(${p.index(s.column)}) * 2)`;
      // Transposed, an operand's matrices come in the other order: as those of the other role
      const lanes = `${s.transposed === (role === 'left') ? 'right' : 'left'}_lane(${bytes})`;
      const load = s.transposed ? 'ldmatrix_transposed' : 'ldmatrix';
      p.line(`${load}(${c}, (const u8 *)(${panel.c} + ${row}) + (${lanes} ^ ${column}));`);
      return;
    }
    case 'tile_read':
      return; // of tiles of one thread, which this target has none of
    case 'tile_multiply': {
      const [sum, left, right] = [s.sum, s.left, s.right].map((name) => fragment(p, name));
      p.line(`${sum.tile.name}(${sum.c}, ${left.c}, ${right.c});`);
      return;
    }
    case 'tile_scale': {
      const { c } = fragment(p, s.sum);
      const memory = p.memory(s.buffer);
      p.line(`tile_scale(${c}, ${memory.c} + ${p.index(s.index)});`);
      return;
    }
    case 'tile_store': {
      const { c } = fragment(p, s.fragment);
      p.line(`tile_store(${p.memory(s.buffer).c} + ${p.index(s.index)}, ${s.pitch}, ${c});`);
      return;
    }
    case 'copy':
      return printCopy(s, p);
    case 'copy_batch':
      p.line('copy_batch();');
      return;
    case 'copy_wait':
      p.line(`copy_wait(${s.pending});`);
      return;
    default:
      s satisfies never;
  }
}

/** One instruction where 16 bytes are provably aligned, otherwise element by element and at once. */
function printCopy(s: TileStmt<Expr> & { kind: 'copy' }, p: TileContext): void {
  const [to, from] = [p.memory(s.to), p.memory(s.from)];
  const { lanes } = s;
  const { bytes } = dtypeInfo[to.dtype];
  const [at, index] = [p.index(s.at), p.index(s.index)];
  const always = s.inside.kind === 'const' && s.inside.value === 1;
  const inside = always ? '' : p.condition(s.inside);
  if (lanes * bytes === panelPieceBytes && Math.min(p.factor(s.at), p.factor(s.index)) * bytes >= panelPieceBytes) {
    const size = always ? `${panelPieceBytes}` : `${inside} ? ${panelPieceBytes} : 0`;
    p.line(`copy_async(${to.c} + ${at}, ${from.c} + ${index}, ${size});`);
    return;
  }
  const element = `${from.c}[${index} + lane]`;
  const value = always ? element : `${inside} ? ${element} : (${memoryType(to.dtype)})0`;
  p.line(`for (i32 lane = 0; lane < ${lanes}; lane++) ${to.c}[${at} + lane] = ${value};`);
}

function fragment(p: TileContext, name: string): Fragment {
  return p.fragments().get(name)!;
}

const multiply = (operands: string): string => {
  const one = (half: number): string => {
    const sums = [0, 1, 2, 3].map((i) => `"+f"(d[${4 * half + i}])`).join(', ');
    return (
      `  asm("mma.sync.aligned.m16n8k16.row.col.f32.${operands}.${operands}.f32 {%0, %1, %2, %3}, ` +
      `{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" : ${sums} : ` +
      `"r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[${2 * half}]), "r"(b[${2 * half + 1}]));`
    );
  };
  return `DEVICE void mma_${operands}(f32 *d, const u32 *a, const u32 *b) {\n${one(0)}\n${one(1)}\n}`;
};

const matrices = (name: string, order: string): { readonly name: string; readonly text: string } => ({
  name,
  text:
    `DEVICE void ${name}(u32 *r, const void *p) {\n` +
    `  asm volatile("ldmatrix.sync.aligned.m8n8.x4${order}.shared.b16 {%0, %1, %2, %3}, [%4];" : ` +
    '"=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"((u32)__cvta_generic_to_shared(p)) : "memory");\n}',
});

/** What the statements call: instructions that only PTX can say, by name, and functions in C. */
export const tileInstructions: readonly { readonly name: string; readonly text: string }[] = [
  matrices('ldmatrix', ''),
  matrices('ldmatrix_transposed', '.trans'),
  { name: 'mma_bf16', text: multiply('bf16') },
  { name: 'mma_f16', text: multiply('f16') },
  {
    name: 'copy_async',
    text:
      'DEVICE void copy_async(void *to, const void *from, i32 bytes) {\n' +
      '  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" : : ' +
      '"r"((u32)__cvta_generic_to_shared(to)), "l"(from), "r"(bytes) : "memory");\n}',
  },
  { name: 'copy_batch', text: '#define copy_batch() asm volatile("cp.async.commit_group;" : : : "memory")' },
  { name: 'copy_wait', text: '#define copy_wait(n) asm volatile("cp.async.wait_group %0;" : : "n"(n) : "memory")' },
];

const lane = (role: string, row: string, piece: string): { readonly name: string; readonly text: string } => ({
  name: `${role}_lane`,
  text:
    `DEVICE i32 ${role}_lane(i32 bytes) {\n  const i32 lane = (i32)threadIdx.x % 32, row = (${row}) * bytes;\n` +
    `  return row + ((${piece} ^ row / 128 % (bytes / 16)) * 16);\n}`,
});

export const tileFunctions: readonly { readonly name: string; readonly text: string }[] = [
  // Which 8 elements of a 16 x 16 operand a lane names to ldmatrix, as a byte of a panel with rows of so many bytes. The
  // four matrices are, of a left operand, the upper and lower half of the first 8 columns, then of the others; of a right
  // one, the upper half's columns, then the lower half's: each instruction of the tile takes two neighbouring registers.
  lane('left', 'lane % 16', 'lane / 16'),
  lane('right', 'lane % 8 + lane / 16 * 8', 'lane / 8 % 2'),
  {
    name: 'tile_scale',
    text:
      'DEVICE void tile_scale(f32 *sum, const f32 *rows) {\n  rows += (i32)threadIdx.x % 32 / 4;\n' +
      '  const f32 upper = rows[0], lower = rows[8];\n' +
      '  for (i32 i = 0; i < 8; i++) sum[i] *= i % 4 < 2 ? upper : lower;\n}',
  },
  {
    // Two sums of m16n8: a lane has two neighbours of row lane / 4, and the two that are 8 rows below
    name: 'tile_store',
    text:
      'DEVICE void tile_store(f32 *to, i32 pitch, const f32 *sum) {\n  const i32 lane = (i32)threadIdx.x % 32;\n' +
      '  to += lane / 4 * pitch + lane % 4 * 2;\n  for (i32 i = 0; i < 4; i++) {\n' +
      '    const uint2 pair = make_uint2(__float_as_uint(sum[2 * i]), __float_as_uint(sum[2 * i + 1]));\n' +
      '    *(uint2 *)(to + i % 2 * 8 * pitch + i / 2 * 8) = pair;\n  }\n}',
  },
];
