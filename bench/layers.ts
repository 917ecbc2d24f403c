// Single layers on this CPU, beside the FMA probe of the same minutes: convolutions of a ResNet-50, and the products of a
// mixture of experts. Each is a graph of one op with random operands, compiled and run as any program is; a repetition
// stands between two probes, and that of the median ratio is told.
import { createCpuDevice } from '../backends/cpu/device.ts';
import { probe } from '../backends/cpu/probe.ts';
import type { Buffer } from '../backends/device.ts';
import { dim } from '../ir/dim.ts';
import { make } from '../ir/make.ts';
import type { Node } from '../ir/node.ts';
import { evalShape, type PlanTensor } from '../ir/program.ts';
import { compile } from '../runtime/compiler/compile.ts';

interface Layer {
  readonly name: string;
  /** A fused multiply-add counts as two. */
  readonly flops: number;
  readonly graph: { readonly params: readonly Node<'param'>[]; readonly result: Node };
}

export interface LayerRow {
  readonly workload: 'layers';
  readonly layer: string;
  readonly ms: number;
  readonly gflops: number;
  /** GFLOP/s of f32 that the probes around the repetition gave. */
  readonly probe: number;
  /** gflops / probe. */
  readonly ratio: number;
  /** Processor time that the threads got, as a share of what they wanted; the probes' is in `probe_share`. */
  readonly cpu_share: number;
  readonly probe_share: number;
}

const param = (name: string, kind: 'input' | 'weight', shape: readonly number[], dtype: 'f32' | 'i32' = 'f32') =>
  make('param', [], { name, kind, dtype, shape: shape.map((d) => dim(d)) });

/** Square images of `channels`, windows of `window`, padded so that each place of the stride has one. */
function convolution(size: number, channels: number, outputs: number, window: number, stride: number): Layer {
  const x = param('x', 'input', [1, size, size, channels]);
  const filter = param('filter', 'weight', [window, window, channels, outputs]);
  const pad = (window - 1) / 2;
  const result = make('conv', [x, filter], {
    strides: [stride, stride],
    padding: [
      [pad, pad],
      [pad, pad],
    ],
    dilation: [1, 1],
    inputDilation: [1, 1],
    groups: 1,
    acc: 'f32',
  });
  const places = Math.ceil(size / stride) ** 2;
  const name = `conv ${window}x${window}/${stride}, ${size}x${size}x${channels} to ${outputs}`;
  return { name, flops: 2 * places * window ** 2 * channels * outputs, graph: { params: [x, filter], result } };
}

/** Rows sorted by expert, each times its expert's matrix. */
function expertProducts(rows: number, experts: number, hidden: number, width: number): Layer {
  const x = param('x', 'input', [rows, hidden]);
  const w = param('w', 'weight', [experts, hidden, width]);
  const counts = param('counts', 'input', [experts], 'i32');
  const result = make('ragged_dot', [x, w, counts], { acc: 'f32' });
  const name = `ragged_dot, ${rows} rows of ${hidden} to ${width}, ${experts} experts`;
  return { name, flops: 2 * rows * hidden * width, graph: { params: [x, w, counts], result } };
}

const layers = (smoke: boolean): Layer[] =>
  smoke
    ? [convolution(6, 16, 32, 3, 1), expertProducts(32, 4, 32, 48)]
    : [
        convolution(14, 256, 256, 3, 1),
        convolution(56, 64, 64, 3, 1),
        convolution(56, 256, 512, 1, 2),
        expertProducts(1024, 8, 1024, 3584), // 512 tokens, of which each chooses 2
      ];

/** Random values; of counts, shares that differ and add up to the rows. */
function dataOf({ shape, dtype }: PlanTensor, rows: number): Float32Array | Int32Array {
  const length = evalShape(shape, {}).reduce((a, b) => a * b, 1);
  if (dtype === 'f32') return Float32Array.from({ length }, () => Math.random() - 0.5);
  const shares = Int32Array.from({ length }, (_, i) => Math.floor((rows * (i + 4)) / (length * (length + 7) * 0.5)));
  shares[length - 1] += rows - shares.reduce((a, b) => a + b, 0);
  return shares;
}

async function measure(layer: Layer, reps: number): Promise<LayerRow> {
  const device = await createCpuDevice();
  const { params, result } = layer.graph;
  const graph = { name: 'layer', params, results: new Map([['y', result]]), updates: new Map() };
  const program = compile('layer', { main: { graph, constants: new Map() } }, device.target);
  const loaded = await device.load(program);
  const buffers: Buffer[] = [];
  const [rows] = result.type.shape.map((d) => d.max);
  const upload = (t: PlanTensor): Buffer => {
    const data = dataOf(t, rows);
    const buffer = device.alloc(data.byteLength, t.dtype);
    device.write(buffer, new Uint8Array(data.buffer));
    buffers.push(buffer);
    return buffer;
  };
  const main = program.entries.main;
  const bytes = 4 * result.type.shape.reduce((n, d) => n * d.max, 1);
  const output = device.alloc(bytes, 'f32');
  const bindings = { weights: program.weights.map(upload), constants: [], states: [], inputs: main.inputs.map(upload), results: [output] }; // biome-ignore format: one row
  const runs = Math.max(1, Math.round(2e10 / layer.flops)); // some tenths of a second a repetition
  const all: Omit<LayerRow, 'workload' | 'layer'>[] = [];
  await loaded.run('main', bindings, {}); // pages, clocks
  let before = await probe(device);
  for (let rep = 0; rep < reps; rep++) {
    const start = { ms: performance.now(), cpu: process.cpuUsage() };
    for (let i = 0; i < runs; i++) await loaded.run('main', bindings, {});
    const ms = (performance.now() - start.ms) / runs;
    const { user, system } = process.cpuUsage(start.cpu);
    const after = await probe(device);
    const rate = (before.flopsPerSecond + after.flopsPerSecond) / 2e9;
    const gflops = layer.flops / ms / 1e6;
    const cpu_share = (user + system) / 1000 / (ms * runs * device.target.threads);
    const probe_share = (before.cpuShare + after.cpuShare) / 2;
    all.push({ ms, gflops, probe: rate, ratio: gflops / rate, cpu_share, probe_share });
    before = after;
  }
  for (const buffer of [...buffers, output]) device.free(buffer);
  loaded.dispose();
  const median = all.sort((a, b) => a.ratio - b.ratio)[Math.floor(all.length / 2)];
  const rounded = Object.fromEntries(Object.entries(median).map(([k, v]) => [k, Number(v.toFixed(3))]));
  return { workload: 'layers', layer: layer.name, ...(rounded as typeof median) };
}

/** A row for each layer. */
export async function measureLayers(reps: number, smoke: boolean): Promise<LayerRow[]> {
  const rows: LayerRow[] = [];
  for (const layer of layers(smoke)) rows.push(await measure(layer, reps));
  return rows;
}
