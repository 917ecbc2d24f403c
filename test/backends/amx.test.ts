// Products by AMX, whose registers few machines have: the printed C is assembled as it is, and runs with its tile
// instructions replaced by functions that do what Intel's manual says. Everything else is the code that such a machine runs.
import { describe, expect, test } from 'vitest';
import { compileNative } from '../../backends/c/toolchain.ts';
import { createCpuDevice } from '../../backends/cpu/device.ts';
import { printProgram } from '../../backends/cpu/print.ts';
import { hostIsas, hostTarget, isaOf } from '../../backends/cpu/target.ts';
import { evaluate } from '../../ir/eval.ts';
import type { Program } from '../../ir/program.ts';
import { difference } from '../support/compare.ts';
import { type CompilingDevice, runCompiled } from '../support/cpu-device.ts';
import { products } from './kernels/products.ts';

const amx = isaOf(['amx']);
const emulation = `
static _Thread_local unsigned tmm[8][16][16];
static void tile_zero(int t) { __builtin_memset(tmm[t], 0, 1024); }
static void tile_read(int t, const void *p, ix pitch) {
  for (int i = 0; i < 16; i++) __builtin_memcpy(tmm[t][i], (const char *)p + i * pitch, 64);
}
static void tile_write(int t, void *p, ix pitch) {
  for (int i = 0; i < 16; i++) __builtin_memcpy((char *)p + i * pitch, tmm[t][i], 64);
}
static f32 tile_float(unsigned bits) { f32 x; __builtin_memcpy(&x, &bits, 4); return x; }
static void tile_product(int c, int a, int b) {
  for (int m = 0; m < 16; m++) for (int k = 0; k < 16; k++) for (int n = 0; n < 16; n++) {
    unsigned x = tmm[a][m][k], y = tmm[b][k][n];
    f32 sum = tile_float(tmm[c][m][n]);
    sum += tile_float(x << 16) * tile_float(y << 16);
    sum += tile_float(x & 0xffff0000) * tile_float(y & 0xffff0000);
    __builtin_memcpy(&tmm[c][m][n], &sum, 4);
  }
}
`;
const memory = String.raw`" :: "r"\((.*)\), "r"\(\(ix\)(\d+)\) : "memory"\);`;
/** C whose tile instructions are calls. */
const emulated = (source: string): string =>
  source
    .replace(/__asm__ volatile\("(ldtilecfg|tilerelease|syscall)[^;]*;/g, '')
    .replace(/__asm__ volatile\("tilezero %%tmm(\d)" ::: "memory"\);/g, 'tile_zero($1);')
    .replace(new RegExp(String.raw`__asm__ volatile\("tileloadd \(%0,%1,1\), %%tmm(\d)${memory}`, 'g'), 'tile_read($1, $2, $3);') // biome-ignore format: one row
    .replace(new RegExp(String.raw`__asm__ volatile\("tilestored %%tmm(\d), \(%0,%1,1\)${memory}`, 'g'), 'tile_write($1, $2, $3);') // biome-ignore format: one row
    .replace(/__asm__ volatile\("tdpbf16ps %%tmm(\d), %%tmm(\d), %%tmm(\d)" ::: "memory"\);/g, 'tile_product($3, $2, $1);') // biome-ignore format: one row
    .replace('static inline', `${emulation}static inline`);

async function emulatingDevice(): Promise<CompilingDevice> {
  const device = await createCpuDevice({ target: { ...hostTarget(), features: ['avx512'] } });
  const load = (program: Program, binary?: string) =>
    device.load({ ...program, target: { ...program.target, features: ['avx512'] } }, binary);
  const target = { ...device.target, features: ['amx'], tiles: amx.tiles, vectorBytes: 64, vectorRegisters: 32 };
  return new Proxy(device, {
    get: (of, key) => (key === 'load' ? load : key === 'target' ? target : bound(of, key)),
  });
}
const bound = (of: object, key: string | symbol): unknown => {
  const value: unknown = Reflect.get(of, key);
  return typeof value === 'function' ? value.bind(of) : value;
};

const cases = products.filter(({ name }) => /bf16/.test(name) && !/^layout .*(b|o)/.test(name));
const canRun = hostIsas().some((row) => row.name === 'avx512bf16');

describe.skipIf(!canRun)('products of bf16 by AMX, emulated', () => {
  test('are those of the interpreter', async () => {
    const sources: string[] = [];
    const build = async (program: Program): Promise<string> => {
      const { source } = printProgram(program);
      sources.push(source);
      const text = emulated(source);
      expect(text).not.toContain('%%tmm');
      return compileNative(text, { flags: [...isaOf(['avx512bf16']).flags, '-O1'] });
    };
    const results = await runCompiled(await emulatingDevice(), cases, printProgram, build);
    const wrong = cases.flatMap((c, i) => {
      const actual = results[i];
      if (actual instanceof Error) return [`${c.name}: ${actual.message}`];
      return [...evaluate(c.graph, c).results].flatMap(([name, value]) => {
        const problem = difference(actual.results.get(name)!, value, c.tolerance);
        return problem ? [`${c.name}: ${problem}`] : [];
      });
    });
    expect(wrong).toEqual([]);
    expect(sources.join()).toMatch(/tdpbf16ps/);
    await compileNative(sources.find((source) => source.includes('tdpbf16ps'))!, { flags: [...amx.flags, '-O1'] });
  }, 120_000);
});
