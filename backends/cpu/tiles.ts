// Tiles as C: what each row of the instruction sets' tables is printed as. A tile of one row is a vector and its operands
// are variables, so that the compiler allocates registers. Those of AMX are matrices in registers of their own, numbered
// here; a kernel that uses them configures them when it begins and releases them when it ends.
import { dtypeInfo } from '../../ir/dtype.ts';
import type { Expr } from '../../ir/loop.ts';
import type { Tile } from '../../ir/target.ts';
import type { FragmentRole, TileStmt } from '../../ir/tile.ts';

export interface Fragment {
  readonly tile: Tile;
  readonly role: FragmentRole;
  /** The C variable, or the number of the register. */
  readonly c: string;
}

/** What printing a tile needs of the kernel's printer. */
export interface TileContext {
  readonly tiles: readonly Tile[];
  readonly fragments: Map<string, Fragment>;
  line(text: string): void;
  fresh(): string;
  index(e: Expr): string;
  /** The C pointer of memory. */
  memory(buffer: string): string;
}

/** Matrices in registers, where a tile has them. */
const isMatrix = (tile: Tile): boolean => tile.m > 1;

export function printTile(s: TileStmt<Expr>, p: TileContext): void {
  switch (s.kind) {
    case 'fragment': {
      const tile = p.tiles.find((t) => t.name === s.tile)!;
      const vector = vectorOf(tile, s.role);
      if (vector !== undefined) {
        const c = p.fresh();
        p.line(`${vector} ${c}${s.role === 'sum' ? ' = {0}' : ''};`);
        p.fragments.set(s.name, { tile, role: s.role, c });
        return;
      }
      const taken = [...p.fragments.values()].filter((f) => isMatrix(f.tile)).length;
      p.fragments.set(s.name, { tile, role: s.role, c: `${taken}` });
      if (s.role === 'sum') p.line(`__asm__ volatile("tilezero %%tmm${taken}" ::: "memory");`);
      return;
    }
    case 'tile_read': {
      const { tile, role, c } = fragmentOf(p, s.fragment);
      const { bytes } = dtypeInfo[role === 'sum' ? tile.accumulator : tile.operands];
      const address = `${p.memory(s.buffer)} + ${p.index(s.index)}`;
      const vector = vectorOf(tile, role);
      if (vector === undefined) {
        p.line(moveMatrix('tileloadd (%0,%1,1), %%tmm', c, address, s.pitch * bytes));
      } else if (role === 'left') {
        p.line(`${c} = splat_${vector}(${tile.operands === 'f32' ? '*' : 'load_word'}(${address}));`);
      } else p.line(`${c} = *(const ${vector}_at *)(${address});`);
      return;
    }
    case 'tile_multiply': {
      const [sum, left, right] = [s.sum, s.left, s.right].map((name) => fragmentOf(p, name));
      if (isMatrix(sum.tile)) {
        p.line(`__asm__ volatile("${sum.tile.name} %%tmm${right.c}, %%tmm${left.c}, %%tmm${sum.c}" ::: "memory");`);
      } else if (sum.tile.operands === 'f32') p.line(`${sum.c} += ${left.c} * ${right.c};`);
      else p.line(`__asm__("${sum.tile.name} %2, %1, %0" : "+v"(${sum.c}) : "v"(${left.c}), "v"(${right.c}));`);
      return;
    }
    case 'tile_store': {
      const { tile, role, c } = fragmentOf(p, s.fragment);
      const address = `${p.memory(s.buffer)} + ${p.index(s.index)}`;
      const vector = vectorOf(tile, role);
      if (vector === undefined) p.line(moveMatrix('tilestored %%tmm', c, address, s.pitch * 4));
      else p.line(`*(${vector}_at *)(${address}) = ${c};`);
      return;
    }
    case 'tile_load':
    case 'tile_scale':
    case 'copy':
    case 'copy_batch':
    case 'copy_wait':
      return; // tiles are of one thread: rules 13 and 18 of kernels
    default:
      s satisfies never;
  }
}

/** A move between memory and the matrix register whose number takes its place behind 'tmm'. */
function moveMatrix(instruction: string, register: string, address: string, pitchBytes: number): string {
  const isLoad = instruction.startsWith('tileloadd');
  const text = isLoad ? `${instruction}${register}` : `${instruction}${register}, (%0,%1,1)`;
  return `__asm__ volatile("${text}" :: "r"(${address}), "r"((ix)${pitchBytes}) : "memory");`;
}

/** The C type of a fragment that is a vector: words of 32 bits. */
function vectorOf(tile: Tile, role: FragmentRole): string | undefined {
  if (isMatrix(tile)) return undefined;
  return role === 'sum' || tile.operands === 'f32' ? `f32x${tile.n}` : `i32x${tile.n}`;
}

function fragmentOf(p: TileContext, name: string): Fragment {
  return p.fragments.get(name)!;
}

/** The statements of a kernel's body, with what surrounds them where they use matrices. */
export const withMatrices = (lines: readonly string[]): readonly string[] =>
  lines.some((line) => line.includes('%%tmm')) ? ['  configure_matrices();', ...lines, '  release_matrices();'] : lines;

/** Items of the prelude that tiles mention. Palette 1: 16 rows of 64 bytes in each of the eight registers. */
export const tileItems = [
  {
    name: 'load_word',
    text: 'static inline __attribute__((always_inline)) i32 load_word(const void *p) { i32 r; __builtin_memcpy(&r, p, 4); return r; }',
  },
  {
    // Linux gives these registers to processes that ask for them: arch_prctl(ARCH_REQ_XCOMP_PERM, XTILEDATA)
    name: 'request_matrices',
    text: `static __attribute__((constructor)) void request_matrices(void) {
  long result;
  __asm__ volatile("syscall" : "=a"(result) : "a"(158L), "D"(0x1023L), "S"(18L) : "rcx", "r11", "memory");
}`,
  },
  {
    name: 'configure_matrices',
    text: `static const struct { u8 palette, start, reserved[14]; unsigned short bytes[16]; u8 rows[16]; } matrices __attribute__((aligned(64))) =
  {1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
static inline __attribute__((always_inline)) void configure_matrices(void) {
  (void)request_matrices;
  __asm__ volatile("ldtilecfg %0" :: "m"(matrices) : "memory");
}`,
  },
  {
    name: 'release_matrices',
    text: `static inline __attribute__((always_inline)) void release_matrices(void) { __asm__ volatile("tilerelease" ::: "memory"); }`,
  },
];
