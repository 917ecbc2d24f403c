// Real kernels for groups (of op cases, and products and attention by tiles), damaged at random. What is promised of every
// damage of the kinds below: the verifier refuses the kernel, or its run breaks a rule that the emulation of groups checks
// (bounds, races, memory that nobody wrote, copies that were not waited for), or an element of the result is never written,
// or the result is right all the same. No kind changes what is computed within the rules: a sum of fewer or more terms,
// another operation or another element of the right array are programs as good as any, which no checker can tell from the
// one that was meant.
// MODELC_DAMAGES: how many (2000); MODELC_SEED: which.
import { expect, test } from 'vitest';
import { cudaTarget } from '../../backends/cuda/target.ts';
import { plan } from '../../backends/kernel/plan.ts';
import { dtypeInfo } from '../../ir/dtype.ts';
import type { Graph } from '../../ir/graph.ts';
import type { Kernel } from '../../ir/loop.ts';
import type { NdArray } from '../../ir/ndarray.ts';
import type { Slot } from '../../ir/program.ts';
import { verifyKernel } from '../../ir/verify-kernel.ts';
import { regionsOf } from '../support/cpu-device.ts';
import { type BoundMemory, emulate, Fault } from '../support/loop-emulation.ts';
import { build, cases, paramsOf } from '../support/op-cases.ts';
import { tiles } from './kernels/tiles.ts';

const target = cudaTarget('sm_80');

/** A kernel, what it is run on, and what it then gives. */
interface Sample {
  readonly name: string;
  readonly kernel: Kernel;
  readonly bound: readonly BoundMemory[];
  readonly expected: readonly Float64Array[];
}

/** The kernels of a graph, run one after the other. */
function samplesOf(name: string, graph: Graph, params: ReadonlyMap<string, NdArray>): Sample[] {
  const program = plan('test', new Map([['main', regionsOf(graph, target)]]), new Map(), target);
  const { inputs, results, steps } = program.entries.main;
  const memory = new Map<string, ArrayLike<number>>();
  const sizeOf = (shape: readonly Readonly<Record<string, number>>[]) => shape.reduce((n, d) => n * (d[''] ?? 0), 1);
  return steps.flatMap(({ parts }) =>
    parts.map(({ kernel: at, args }): Sample => {
      const kernel = program.kernels[at];
      const key = (slot: Slot) => (slot.space === 'arena' ? `arena ${slot.offset}` : `${slot.space} ${slot.index}`);
      const bound = args.map((slot, i): BoundMemory => {
        const { dtype, access } = kernel.buffers[i];
        const data = slot.space === 'input' ? params.get(inputs[slot.index].name)!.data : memory.get(key(slot));
        if (slot.space === 'arena')
          return { size: slot.bytes / dtypeInfo[dtype].bytes, ...(access === 'write' ? {} : { data }) };
        const { shape } = slot.space === 'input' ? inputs[slot.index] : results[slot.index];
        return { size: sizeOf(shape), ...(access === 'write' ? {} : { data }) };
      });
      const expected = emulate(kernel, target.groupThreads, bound);
      for (const [i, slot] of args.entries()) memory.set(key(slot), expected[i]);
      return { name: `${name}, ${kernel.name}`, kernel, bound, expected };
    }),
  );
}

type Mutable = { [key: string]: unknown };
interface Site {
  readonly list?: Mutable[];
  readonly at: number;
  readonly node: Mutable;
}

/** All statements and expressions of a body that may be changed. */
function sitesOf(body: Mutable[]): Site[] {
  const sites: Site[] = [];
  const visit = (x: unknown, list: Mutable[] | undefined, at: number): void => {
    if (Array.isArray(x)) for (const [i, y] of x.entries()) visit(y, x as Mutable[], i);
    else if (typeof x === 'object' && x !== null) {
      const node = x as Mutable;
      if (typeof node.kind === 'string') sites.push({ node, at, ...(list ? { list } : {}) });
      for (const y of Object.values(node)) if (typeof y === 'object') visit(y, undefined, 0);
    }
  };
  visit(body, undefined, 0);
  return sites;
}

const remove = ({ list, at }: Site): void => void list?.splice(at, 1);
const shifted = (index: unknown, by: number): Mutable => ({
  kind: 'alu', op: 'add', dtype: 'index', lanes: 1, args: [index, { kind: 'const', value: by, dtype: 'index', lanes: 1 }],
}); // biome-ignore format: short

/** Kinds of damage: which nodes they are of, and what they do to one. */
const kinds: readonly { readonly name: string; readonly of: readonly string[]; readonly where?: (node: Mutable) => boolean; readonly damage: (site: Site) => void }[] = [
  { name: 'a barrier is gone', of: ['barrier'], damage: remove },
  { name: 'a wait is gone', of: ['copy_wait'], damage: remove },
  { name: 'a wait for too few', of: ['copy_wait'], damage: ({ node }) => void ((node.pending as number) += 1) },
  { name: 'a declaration is gone', of: ['let', 'alloc', 'fragment', 'reduce'], damage: remove },
  { name: 'an operand is not loaded', of: ['tile_load', 'copy'], damage: remove },
  { name: 'a declaration is there twice', of: ['let', 'alloc', 'fragment', 'reduce'], damage: ({ list, at, node }) => void list?.splice(at, 0, structuredClone(node)) },
  { name: 'an index far outside', of: ['load', 'store', 'copy', 'tile_store'], damage: ({ node }) => void (node.index = shifted(node.index, 2 ** 26)) },
  { name: 'an index below the first', of: ['load', 'store', 'copy'], damage: ({ node }) => void (node.index = shifted(node.index, -(2 ** 26))) },
  { name: 'another type', of: ['load', 'var', 'const', 'alu', 'cast'], damage: ({ node }) => void (node.dtype = node.dtype === 'i32' ? 'f32' : 'i32') },
  { name: 'other lanes', of: ['load', 'var', 'alu', 'splat', 'cast'], damage: ({ node }) => void ((node.lanes as number) *= 2) },
  { name: 'three lanes', of: ['load', 'const', 'splat'], damage: ({ node }) => void (node.lanes = 3) },
  { name: 'an unknown name', of: ['var', 'let', 'assign', 'fragment', 'for'], damage: ({ node }) => void (node.name = 'nobody') },
  { name: 'an unknown buffer', of: ['load', 'store', 'tile_store', 'tile_scale'], damage: ({ node }) => void (node.buffer = 'nothing') },
  { name: 'a loop without steps', of: ['for'], damage: ({ node }) => void (node.step = 0) },
  { name: 'stores that a group shares are done by all', of: ['for'], where: ({ level, body }) => level === 'group' && JSON.stringify(body).includes('"store"'), damage: ({ node }) => void (node.level = 'serial') },
  { name: 'a barrier in a loop over the group', of: ['for'], where: ({ level }) => level === 'group', damage: ({ node }) => void (node.body as Mutable[]).push({ kind: 'barrier' }) },
  { name: 'an operand too few', of: ['alu'], damage: ({ node }) => void (node.args as unknown[]).pop() },
  { name: 'a condition that is a number', of: ['if'], damage: ({ node }) => void (node.condition = { kind: 'const', value: 1, dtype: 'index', lanes: 1 }) },
  { name: 'memory that is too small', of: ['alloc'], damage: ({ node }) => void (node.size = Math.floor((node.size as number) / 2)) },
  { name: 'an operand of another role', of: ['fragment'], damage: ({ node }) => void (node.role = node.role === 'left' ? 'right' : 'left') },
]; // biome-ignore format: a table

const same = (a: readonly Float64Array[], b: readonly Float64Array[]): boolean =>
  a.every((x, i) => x.every((v, j) => Object.is(v, b[i][j]) || v === b[i][j]));
const isUnwritten = (got: readonly Float64Array[], want: readonly Float64Array[]): boolean =>
  got.some((x, i) => x.some((v, j) => Number.isNaN(v) && !Number.isNaN(want[i][j])));

/** What becomes of a damaged kernel. */
function outcome(kernel: Kernel, { bound, expected }: Sample): 'refused' | 'caught' | 'right' | 'wrong' {
  try {
    verifyKernel(kernel, target);
  } catch {
    return 'refused';
  }
  try {
    const got = emulate(kernel, target.groupThreads, bound);
    return same(got, expected) ? 'right' : isUnwritten(got, expected) ? 'caught' : 'wrong';
  } catch (error) {
    if (error instanceof Fault) return 'caught';
    throw error;
  }
}

test('no damage gives wrong numbers in silence', () => {
  const constant = (g: Graph) =>
    g.params.every((p) => p.attrs.kind === 'input' && p.type.shape.every((d) => d.vars.size === 0));
  const small = cases
    .filter((_, i) => i % 3 === 0)
    .map((c) => ({ name: c.op, graph: build(c).graph, params: paramsOf(c) }));
  const samples = [...small, ...tiles.filter(({ name }) => /^bf16 \[(65|70), |^bf16 attention: one head/.test(name))]
    .filter(({ graph }) => constant(graph))
    .flatMap((c) => {
      try {
        return samplesOf(c.name, c.graph, c.params);
      } catch (error) {
        if (error instanceof Fault) throw new Error(`${c.name}: ${error.message}`);
        return []; // has no kernels
      }
    });
  const count = Number(process.env.MODELC_DAMAGES ?? 2000);
  let state = Number(process.env.MODELC_SEED ?? 1) >>> 0;
  const below = (n: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
  const seen = { refused: 0, caught: 0, right: 0, wrong: 0 };
  const wrong: string[] = [];
  for (let done = 0; done < count; ) {
    const sample = samples[below(samples.length)];
    const body = structuredClone(sample.kernel.body) as unknown as Mutable[];
    const kind = kinds[below(kinds.length)];
    const sites = sitesOf(body).filter(
      ({ node }) => kind.of.includes(node.kind as string) && (kind.where?.(node) ?? true),
    );
    if (sites.length === 0) continue;
    const site = sites[below(sites.length)];
    kind.damage(site);
    const found = outcome({ ...sample.kernel, body: body as unknown as Kernel['body'] }, sample);
    seen[found]++;
    done++;
    if (found === 'wrong') wrong.push(`${sample.name}: ${kind.name}: ${JSON.stringify(site.node).slice(0, 200)}`);
  }
  expect(samples.length).toBeGreaterThan(40);
  expect(seen.caught).toBeGreaterThan(50);
  expect(wrong).toEqual([]);
}, 300_000);
