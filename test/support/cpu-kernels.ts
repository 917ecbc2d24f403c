// Helpers of the CPU backend's tests: elements as bytes, and programs made of hand-written kernels, one entry each.
import { createCpuDevice } from '../../backends/cpu/device.ts';
import { isas } from '../../backends/cpu/target.ts';
import { architectures } from '../../backends/cuda/target.ts';
import type { Buffer } from '../../backends/device.ts';
import { bf16BitsToF32, type DType, dtypeInfo, f16BitsToF32, f32ToBf16Bits, f32ToF16Bits } from '../../ir/dtype.ts';
import { type Expr, index, type Kernel, type Stmt, variable } from '../../ir/loop.ts';
import type { Plan, Program, Slot } from '../../ir/program.ts';
import { emulatedDevice } from './cuda-device.ts';

export type IsaName = (typeof isas)[number]['name'];
/** What hand-written kernels run on: the CPU with an instruction set, or a GPU's code under emulation. */
export type Place = IsaName | 'sm_80';

export function encode(dtype: DType, values: ArrayLike<number>): Uint8Array {
  const list = Array.from(values);
  const make = (): ArrayBufferView => {
    switch (dtype) {
      case 'f32':
        return Float32Array.from(list);
      case 'f16':
        return Uint16Array.from(list, f32ToF16Bits);
      case 'bf16':
        return Uint16Array.from(list, f32ToBf16Bits);
      case 'i64':
        return BigInt64Array.from(list, (x) => (x >= 2 ** 63 ? 2n ** 63n - 1n : BigInt(x)));
      case 'i32':
        return Int32Array.from(list);
      case 'u32':
        return Uint32Array.from(list);
      case 'i8':
        return Int8Array.from(list);
      case 'u8':
      case 'bool':
        return Uint8Array.from(list);
      default:
        return dtype satisfies never;
    }
  };
  return new Uint8Array(make().buffer);
}

export function decode(dtype: DType, { buffer }: Uint8Array): number[] {
  switch (dtype) {
    case 'f32':
      return Array.from(new Float32Array(buffer));
    case 'f16':
      return Array.from(new Uint16Array(buffer), f16BitsToF32);
    case 'bf16':
      return Array.from(new Uint16Array(buffer), bf16BitsToF32);
    case 'i64':
      return Array.from(new BigInt64Array(buffer), Number);
    case 'i32':
      return Array.from(new Int32Array(buffer));
    case 'u32':
      return Array.from(new Uint32Array(buffer));
    case 'i8':
      return Array.from(new Int8Array(buffer));
    case 'u8':
    case 'bool':
      return Array.from(new Uint8Array(buffer));
    default:
      return dtype satisfies never;
  }
}

export const kernel = (
  buffers: readonly (readonly [name: string, dtype: DType, access: 'read' | 'write' | 'readwrite'])[],
  grid: Expr | number,
  body: readonly Stmt[],
  dims: readonly string[] = [],
): Kernel => ({
  name: 'kernel',
  buffers: buffers.map(([name, dtype, access]) => ({ name, dtype, access })),
  dims,
  grid: typeof grid === 'number' ? index(grid) : grid,
  body,
  note: '',
});

export const forEach = (name: string, end: number, body: readonly Stmt[], step = 1, simd = false): Stmt => ({
  kind: 'for',
  name,
  start: index(0),
  end: index(end),
  step,
  level: simd ? 'simd' : 'serial',
  body,
});
export const let_ = (name: string, value: Expr, mutable = false): Stmt => ({ kind: 'let', name, value, mutable });
export const assign = (name: string, value: Expr): Stmt => ({ kind: 'assign', name, value });
export const store = (buffer: string, at: Expr, value: Expr): Stmt => ({ kind: 'store', buffer, index: at, value });
export const task = variable('task');

export const emptyPlan: Plan = { inputs: [], results: [], dims: [], steps: [], arenaBytes: 0 };
export const programOf = (place: Place, entries: Record<string, Plan>, kernels: readonly Kernel[]): Program => ({
  version: 1,
  name: 'test',
  target: { language: place === 'sm_80' ? 'cuda' : 'c', features: [place] },
  entries,
  kernels,
  prepare: [],
  weights: [],
  constants: [],
  states: [],
});

/** A kernel whose reads are the inputs and whose one write is the result, and what it should give. */
export interface Case {
  readonly name: string;
  readonly kernel: Kernel;
  readonly inputs: readonly ArrayLike<number>[];
  readonly expected: readonly number[];
  /** Whether a result is right; exactly equal (NaN equals NaN, 0 equals -0) if absent. */
  readonly close?: (got: number, expected: number) => boolean;
}

export function deviceFor(isa: IsaName, threads = 2) {
  const { vectorBytes, vectorRegisters, tiles } = isas.find((row) => row.name === isa)!;
  const target = {
    language: 'c',
    features: [isa],
    vectorBytes,
    vectorRegisters,
    threads,
    cacheBytes: 2 ** 20,
    groupThreads: 1,
    groupBytes: 0,
    tiles,
    bindings: 64,
    bindingBytes: 2 ** 47,
  } as const;
  return createCpuDevice({ target });
}

/** Runs all cases as the launches of one plan; returns a line per wrong element (the first of each case). */
export async function failures(place: Place, cases: readonly Case[]): Promise<string[]> {
  const device = await (place === 'sm_80' ? emulatedDevice(architectures.slice(-1)) : deviceFor(place));
  const inputs: { name: string; dtype: DType; shape: { '': number }[] }[] = [];
  const results: typeof inputs = [];
  const bytes: Uint8Array[] = [];
  const steps = cases.map((c, at) => {
    let read = 0;
    const args = c.kernel.buffers.map((b): Slot => {
      if (b.access !== 'read') {
        results.push({ name: 'result', dtype: b.dtype, shape: [{ '': c.expected.length }] });
        return { space: 'result', index: results.length - 1 };
      }
      const data = c.inputs[read++];
      inputs.push({ name: 'input', dtype: b.dtype, shape: [{ '': data.length }] });
      bytes.push(encode(b.dtype, data));
      return { space: 'input', index: inputs.length - 1 };
    });
    return { do: 'launch', origin: c.name, parts: [{ kernel: at, args }] } as const;
  });
  const plan: Plan = { ...emptyPlan, inputs, results, steps };
  const program = programOf(
    place,
    { main: plan },
    cases.map((c) => c.kernel),
  );
  const loaded = await device.load(program);
  const bind = (data: Uint8Array): Buffer => {
    const buffer = device.alloc(data.byteLength);
    device.write(buffer, data);
    return buffer;
  };
  const ins = bytes.map(bind);
  const outs = results.map((r) => device.alloc(r.shape[0][''] * dtypeInfo[r.dtype].bytes));
  await loaded.run('main', { weights: [], constants: [], states: [], inputs: ins, results: outs }, {});
  const wrong: string[] = [];
  for (const [i, c] of cases.entries()) {
    const got = decode(results[i].dtype, await device.read(outs[i], 0, outs[i].bytes));
    const close = c.close ?? ((a, b) => a === b || (Number.isNaN(a) && Number.isNaN(b)));
    const at = got.findIndex((g, j) => !close(g, c.expected[j]));
    if (at >= 0) {
      const of = c.inputs.map((x) => x[at % x.length]).join(', ');
      wrong.push(`${place} ${c.name} [${at}] of (${of}): ${got[at]} instead of ${c.expected[at]}`);
    }
  }
  for (const b of [...ins, ...outs]) device.free(b);
  loaded.dispose();
  return wrong;
}
