// Weights that graphs make, against the interpreter: views of any axis and element, casts, sums of products.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import type { FileSpan } from '../../backends/device.ts';
import { decodeElements, readSpan } from '../../frontends/huggingface/index.ts';
import { parseGraph } from '../../frontends/text/index.ts';
import { type DType, dtypeInfo, dtypes } from '../../ir/dtype.ts';
import { evaluate } from '../../ir/eval.ts';
import type { Graph } from '../../ir/graph.ts';
import { ndarray } from '../../ir/ndarray.ts';
import { devices } from '../../runtime/execution/devices.ts';
import { bytesOf, storeNumbers } from '../../runtime/tensors/host-tensor.ts';
import { preparedWeight } from '../../runtime/tensors/prepare-weight.ts';

const scratch = mkdtempSync(join(tmpdir(), 'modelc-prepared-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** Values that every type holds. */
const values = (count: number): number[] => Array.from({ length: count }, (_, i) => (i * 37) % 97);
const stored = (dtype: DType, numbers: ArrayLike<number>): Uint8Array => bytesOf(storeNumbers(dtype, numbers));
const bytes = (made: FileSpan | Uint8Array): Promise<Uint8Array> | Uint8Array =>
  made instanceof Uint8Array ? made : readSpan(made);

const making = (params: string, body: string): Graph =>
  parseGraph(`graph prepare(${params}) { ${body} return weight = %v }`);
const view = (dtype: DType, body: string): Graph => making(`%w: weight ${dtype}[4, 6, 5]`, body);

const views: Readonly<Record<string, string>> = {
  'the last axis is sliced': '%v = slice(%w) {starts: [0, 0, 1], sizes: [4, 6, 3], strides: [1, 1, 1]}',
  'every other element': '%v = slice(%w) {starts: [1, 0, 0], sizes: [2, 3, 3], strides: [2, 2, 2]}',
  'axes change places': '%v = transpose(%w) {perm: [2, 0, 1]}',
  'a slice of a transpose':
    '%0 = transpose(%w) {perm: [1, 2, 0]} %v = slice(%0) {starts: [2, 1, 0], sizes: [3, 4, 4], strides: [1, 1, 1]}',
  'rows of a matrix':
    '%0 = reshape(%w) {shape: [24, 5]} %v = slice(%0) {starts: [3, 0], sizes: [7, 5], strides: [1, 1]}',
  'a reshape of a transpose': '%0 = transpose(%w) {perm: [1, 0, 2]} %v = reshape(%0) {shape: [6, 20]}',
  nothing: '%v = slice(%w) {starts: [0, 0, 0], sizes: [0, 6, 5], strides: [1, 1, 1]}',
};

describe.each(dtypes)('views of %s', (dtype) => {
  const numbers = values(120).map((v) => (dtype === 'bool' ? v % 2 : v));
  const path = join(scratch, dtype);
  writeFileSync(path, Buffer.concat([Buffer.from([0]), stored(dtype, numbers)])); // not aligned to the element
  const span = { path, offset: 1, bytes: 120 * dtypeInfo[dtype].bytes };
  test.each(Object.entries(views))('%s', async (_, body) => {
    const graph = view(dtype, body);
    const params = new Map([['w', ndarray(dtype, [4, 6, 5], numbers)]]);
    const want = stored(dtype, evaluate(graph, { params }).results.get('weight')!.data);
    for (const source of [span, stored(dtype, numbers)]) {
      const made = await bytes(await preparedWeight(graph, () => source));
      expect(Buffer.from(made).equals(want)).toBe(true);
    }
  });
});

test('what lies in one piece is a piece of the file', async () => {
  const graph = view('i32', '%0 = slice(%w) {starts: [1, 0, 0], sizes: [2, 6, 5], strides: [1, 1, 1]} %v = reshape(%0) {shape: [60]}'); // biome-ignore format: one row
  const span = { path: 'a file that nobody opens', offset: 64, bytes: 480 };
  expect(await preparedWeight(graph, () => span)).toEqual({ ...span, offset: 184, bytes: 240 });
});

test('a stored weight of another size is refused', async () => {
  const graph = view('f32', views['axes change places']);
  await expect(preparedWeight(graph, () => new Uint8Array(476))).rejects.toThrow(
    'weight w has 476 bytes, but what is made of it reads 480; they do not belong together',
  );
});

const cast = (rows: number): Graph => making(`%w: weight f32[${rows}, 128]`, '%v = cast(%w) {dtype: bf16}');

test.each([3, 8200])('a cast of %i rows rounds as the interpreter does', async (rows) => {
  const numbers = Float32Array.from({ length: rows * 128 }, (_, i) => Math.sin(i) * 2 ** ((i % 40) - 20));
  numbers.set([Number.NaN, Number.POSITIVE_INFINITY, -0, 1 + 2 ** -8, 1 + 2 ** -8 + 2 ** -20, 3.4e38], 7);
  const made = await bytes(await preparedWeight(cast(rows), () => stored('f32', numbers)));
  const params = new Map([['w', ndarray('f32', [rows, 128], numbers)]]);
  const want = evaluate(cast(rows), { params }).results.get('weight')!;
  expect(Buffer.from(made).equals(stored('bf16', want.data))).toBe(true);
});

test('large sums of products are those of the interpreter', async () => {
  const graph = making(
    '%w: weight bf16[1024, 1030], %a: weight f32[3, 1030], %b: weight f32[1024, 3]',
    `%0 = cast(%w) {dtype: f32}
     %1 = dot_general(%b, %a) {batch: [[], []], contract: [[1], [0]], acc: f32}
     %2 = add(%0, %1)
     %v = cast(%2) {dtype: bf16}`,
  );
  const data = new Map([
    ['w', stored('bf16', values(1024 * 1030))],
    ['a', stored('f32', values(3 * 1030))],
    ['b', stored('f32', values(1024 * 3))],
  ]);
  const made = await preparedWeight(graph, (name) => data.get(name)!);
  const params = new Map(
    graph.params.map((p) => {
      const { name, dtype, shape } = p.attrs;
      return [name, ndarray(dtype, shape.map((d) => d.min), decodeElements(data.get(name)!, dtype))]; // biome-ignore format: one row
    }),
  );
  const want = evaluate(graph, { params }).results.get('weight')!; // integers below 2^24, so sums are exact
  expect(Buffer.from(await bytes(made)).equals(stored('bf16', want.data))).toBe(true);
});

test.each([
  ['transposed', 'bf16', '%v = transpose(%w) {perm: [1, 0]}'],
  ['converted', 'f32', '%v = cast(%w) {dtype: f32}'],
] as const)('large weights are %s into the memory of the CPU that they are for', async (_, dtype, body) => {
  const shape = [1100, 1000];
  const data = stored('bf16', values(1100 * 1000));
  const path = join(scratch, `large-${dtype}`);
  writeFileSync(path, data);
  const device = await devices.cpu.open();
  const graph = making('%w: weight bf16[1100, 1000]', body);
  const made = await preparedWeight(graph, () => ({ path, offset: 0, bytes: data.byteLength }), device);
  const params = new Map([['w', ndarray('bf16', shape, decodeElements(data, 'bf16'))]]);
  const want = stored(dtype, evaluate(graph, { params }).results.get('weight')!.data);
  if (made instanceof Uint8Array || 'path' in made) throw new Error('a copy was made');
  expect(Buffer.from(await device.read(made, 0, made.bytes)).equals(want)).toBe(true);
  device.free(made);
});
