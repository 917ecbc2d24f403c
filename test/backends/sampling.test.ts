// Tokens drawn in the graph are those that the host draws from the same scores with the same uniform numbers: on every
// device, for all that temperature, top_k, top_p and min_p may be, in vocabularies that are searched at once or in parts.
import { describe, expect, test } from 'vitest';
import { largestTopK, Module, sampleTokens, trace } from '../../frontends/dsl/index.ts';
import { evaluate } from '../../ir/eval.ts';
import { type NdArray, ndarray } from '../../ir/ndarray.ts';
import { sampleRow } from '../../runtime/generation/scores.ts';
import * as w from '../../runtime/generation/warpers.ts';
import { Tensor } from '../../runtime/index.ts';
import { uniform as numbers } from '../support/cases/case.ts';
import { devices } from '../support/devices.ts';
import type { DeviceRun } from '../support/test-device.ts';

const { present, missing } = await devices();
for (const { name, why } of missing) test.skip(`${name} (skipped: ${why})`, () => {});

interface Settings {
  readonly temperature: number;
  readonly top_k: number;
  readonly top_p: number;
  readonly min_p: number;
}
const settings: readonly Settings[] = [
  { temperature: 1, top_k: 50, top_p: 1, min_p: 0 },
  { temperature: 0.7, top_k: largestTopK, top_p: 0.8, min_p: 0 },
  { temperature: 1.5, top_k: 10, top_p: 1, min_p: 0.3 },
  { temperature: 2, top_k: 20, top_p: 0.6, min_p: 0.2 },
  { temperature: 1, top_k: 5, top_p: 0, min_p: 1 },
  { temperature: 3, top_k: 1, top_p: 1, min_p: 0 },
];
const rows = 7;
/** Fewer than the largest top_k; and one that is searched in parts. */
const vocabularies = [40, 5000];

const graphOf = (vocab: number) =>
  trace(
    'g',
    new (class extends Module {})(),
    () => 'f32',
    (t) => {
      const inputs = [
        t.input('logits', 'f32', [rows, vocab]),
        t.input('sampling', 'f32', [4]),
        t.input('uniform', 'f32', [rows]),
      ] as const;
      t.result('token', sampleTokens(...inputs));
    },
  ).graph;

const scoresOf = (vocab: number): NdArray => {
  const { data } = numbers([rows, vocab], vocab);
  // The largest score twice, so that ties are there.
  for (let r = 0; r < rows; r++) data[r * vocab + 3] = data[r * vocab + vocab - 2] = 5;
  return ndarray(
    'f32',
    [rows, vocab],
    data.map((v) => Math.fround(4 * v)),
  );
};
const draws = numbers([rows], 99).data.map((v) => Math.fround(Math.abs(v) % 1));

const subjects = vocabularies.flatMap((vocab) =>
  settings.map((s) => {
    const params = new Map([
      ['logits', scoresOf(vocab)],
      ['sampling', ndarray('f32', [4], Object.values(s).map(Math.fround))],
      ['uniform', ndarray('f32', [rows], draws)],
    ]);
    return {
      name: `${vocab} tokens, ${JSON.stringify(s)}`,
      vocab,
      settings: s,
      run: { graph: graphOf(vocab), params } satisfies DeviceRun,
    };
  }),
);

function drawnByHost(vocab: number, s: Settings): number[] {
  const scores = new Tensor('float32', Float32Array.from(scoresOf(vocab).data), [rows, vocab]);
  const ids = Array.from({ length: rows }, () => [0n]);
  new w.TemperatureLogitsWarper(s.temperature)._call(ids, scores);
  new w.TopKLogitsWarper(s.top_k)._call(ids, scores);
  new w.TopPLogitsWarper(s.top_p)._call(ids, scores);
  new w.MinPLogitsWarper(s.min_p)._call(ids, scores);
  return Array.from(draws, (u, r) => sampleRow(scores.data.subarray(r * vocab, (r + 1) * vocab), u));
}

describe('interpreted', () => {
  test.each(subjects)('$name', ({ vocab, settings: s, run }) => {
    const { results } = evaluate(run.graph, { params: run.params, dims: {} });
    expect([...results.get('token')!.data]).toEqual(drawnByHost(vocab, s));
  });
});

test.each(present)('$name', { timeout: 120_000 }, async (device) => {
  const results = await device.run(subjects.map(({ run }) => run));
  for (const [i, { name, vocab, settings: s }] of subjects.entries()) {
    const result = results[i];
    if (result instanceof Error) throw result;
    expect([...result.results.get('token')!.data], name).toEqual(drawnByHost(vocab, s));
  }
});
