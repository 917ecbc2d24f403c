// The benchmark: what is told of repetitions and probes, random checkpoints of real shapes, the probes' own code, and a run
// of the GPU benchmark without a GPU.
import { describe, expect, test } from 'vitest';
import { architectures, cudaTarget } from '../../backends/cuda/target.ts';
import { hasNvcc } from '../../backends/cuda/toolchain.ts';
import type { Device } from '../../backends/device.ts';
import { checkpoint } from '../../bench/checkpoint.ts';
import { cudaProbes } from '../../bench/cuda-probe.ts';
import { measureLayers } from '../../bench/layers.ts';
import { generateRows, type Measured, type RowPlan } from '../../bench/row.ts';
import { shapeNames, shapes } from '../../bench/shapes.ts';
import { Parameter } from '../../frontends/dsl/index.ts';
import { modelOf } from '../../runtime/models/open.ts';
import { modelc } from '../support/command.ts';

const plan: RowPlan = {
  workload: 'generate',
  shape: 'llama8b',
  dtype: 'bf16',
  target: 'cuda',
  promptTokens: 2048,
  contextTokens: 128,
  newTokens: 128,
  reps: 3,
  tolerance: 0.03,
  load: {},
  limitMs: 1000,
  smoke: false,
};
const probe = (gigabytes: number) => ({
  readBytesPerSecond: gigabytes * 1e9,
  flopsPerSecond: 60e12,
  matrixFlopsPerSecond: 800e12,
});
const measured = (decode: readonly number[]): Measured => ({
  peakRssMb: 0,
  cacheBytes: 2,
  repetitions: decode.map((ms) => ({
    prefill: { msPerToken: 0.05, cpuShare: 0 },
    decode: { msPerToken: ms, cpuShare: 0 },
  })),
});

describe('rows', () => {
  test('a floor is the work over what the probes around a repetition gave', () => {
    const [prefill, decode] = generateRows(plan, measured([6]), [probe(2900), probe(2960)]);
    // 7.504e9 weights of 2 bytes, and keys and values of 192 positions
    expect(decode.floor).toBeCloseTo((2 * 7.504e9 + 192 * 131072) / 2930e6, 2);
    expect(decode.ratio).toBeCloseTo(decode.floor! / 6, 3);
    // 2 operations a weight and token but for the head, and attention
    expect(prefill.floor).toBeCloseTo((2 * 6.979e9 + 2 * 32 * 4096 * 2048) / 800e9, 3);
  });

  test('a repetition during which the machine changed does not count', () => {
    const probes = [probe(3000), probe(3000), probe(2000), probe(2000)];
    const [, decode] = generateRows(plan, measured([6, 9, 8]), probes);
    expect(decode.steady).toBe('2/3');
    expect([6, 8]).toContain(decode.value);
    const [, only] = generateRows(plan, measured([6, 9]), [probe(3000), probe(2000), probe(1900)]);
    expect(only).toMatchObject({ steady: '0/2', value: 9 });
  });
});

test.each(shapeNames)(
  'the random checkpoint %s is what its config says, and lies in a file of a gigabyte or so',
  (name) => {
    const { tensors } = checkpoint(name, 'bf16');
    const model = modelOf(checkpoint(name, 'bf16')).model;
    expect(model.vocabSize).toBe(shapes[name].vocab);
    const params = [...model.task.model.named()].flatMap(([key, field]) => (field instanceof Parameter ? [key] : []));
    expect([...tensors.keys()].sort()).toEqual(params.sort());
    const ends = [...tensors.values()].map(({ span }) => span.offset + span.bytes);
    expect(Math.max(...ends)).toBeLessThan(1.2 * 2 ** 30);
    // Tensors of a layer do not overlap
    const layer = [...tensors].filter(([key, { shape }]) => key.startsWith('model.layers.0.') && shape.length > 1);
    const spans = layer.map(([, { span }]) => span).sort((a, b) => a.offset - b.offset);
    for (let i = 1; i < spans.length; i++) {
      expect(spans[i].offset).toBeGreaterThanOrEqual(spans[i - 1].offset + spans[i - 1].bytes);
    }
  },
);

const compiler = await hasNvcc();
test.skipIf(!compiler)(
  `the probes compile for every GPU${compiler ? '' : ' (skipped: there is no nvcc)'}`,
  async () => {
    for (const { name } of architectures) {
      const { binary, matrixFlops } = await cudaProbes({ target: cudaTarget(name) } as Device);
      expect(binary).toMatch(/kernels.cubin$/);
      expect(matrixFlops).toBeGreaterThan(0);
    }
  },
);

test('the GPU benchmark runs on an emulation, and says so', () => {
  const { status, stdout } = modelc(['bench', 'gpu', '--smoke', '--json']);
  expect(status).toBe(0);
  const report = JSON.parse(stdout);
  expect(report).toMatchObject({ device: 'emulated', target: 'cuda', failures: [], peers: [] });
  expect(report.caveat).toMatch(/EMULATION, no GPU/);
  expect(report.rows.map((r: { workload: string }) => r.workload)).toEqual(['compile', 'prefill', 'decode']);
  const [compile, , decode] = report.rows;
  expect(compile.first_token_ms).toBeGreaterThan(compile.warm_ms);
  expect(decode.ratio).toBeGreaterThan(0);
  // What is taken beside the plan: buffers of inputs and results, and what one run leaves to the next
  expect(decode.device_mb).toBeLessThanOrEqual(decode.planned_mb + 1);
}, 180_000);

test('single layers run beside a probe', async () => {
  const rows = await measureLayers(1, true);
  expect(rows.map((r) => r.layer)).toEqual(['conv 3x3/1, 6x6x16 to 32', 'ragged_dot, 32 rows of 32 to 48, 4 experts']);
  for (const { ms, ratio } of rows) expect(ms > 0 && ratio > 0).toBe(true);
}, 120_000);
