// Gradients of whole models: the norm of every parameter's gradient against what PyTorch had, and the derivative along a
// random direction through all parameters at once against a central difference of the interpreter in double precision.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { AdamW, traceTraining } from '../../frontends/dsl/index.ts';
import { fittedModel, openCheckpoint, supportedTypes, weightResolver } from '../../frontends/huggingface/index.ts';
import { evaluate } from '../../ir/eval.ts';
import type { Graph } from '../../ir/graph.ts';
import { type NdArray, ndarray } from '../../ir/ndarray.ts';
import { underTheirNames } from '../../runtime/conformance/train.ts';
import { uniform } from '../support/cases/case.ts';
import { hasMaterial, material, readArrays, readJson, readWeights } from '../support/golden.ts';

interface Golden {
  readonly kind: string;
  readonly train?: { readonly losses: readonly number[]; readonly grad_norms_step0: Readonly<Record<string, number>> };
}

const folder = join(material, 'hf-golden');
const cases = (hasMaterial ? readdirSync(folder) : []).flatMap((name) => {
  if (name.startsWith('_') || name.includes('.')) return [];
  const { kind, train } = readJson<Golden>(join(folder, name, 'golden.json'));
  const { model_type } = readJson<{ model_type: string }>(join(folder, name, 'config.json'));
  return kind === 'causal-lm' && train && supportedTypes('causal-lm').includes(model_type)
    ? [[name, train] as const]
    : [];
});

const dot = (x: NdArray, y: NdArray): number => x.data.reduce((sum, v, i) => sum + v * y.data[i], 0);

describe.skipIf(!hasMaterial)(hasMaterial ? 'golden cases' : 'golden cases (skipped: no ../shared/data)', () => {
  test.each(cases)('%s', async (name, train) => {
    const checkpoint = await openCheckpoint(join(folder, name));
    const { task } = fittedModel(checkpoint, 'causal-lm');
    const ids = (await readArrays(join(folder, name, 'golden.safetensors'))).get('input_ids')!;
    const [batch, seq] = ids.shape;
    const options = { optimizer: AdamW(), dims: { batch, seq } };
    const training = traceTraining(task, ['accumulate'], options, weightResolver(checkpoint));
    const { graph, constants } = training.entries.accumulate!;

    const params = new Map(await readWeights(checkpoint));
    for (const [constant, data] of constants) {
      const { shape } = graph.params.find((p) => p.attrs.name === constant)!.type;
      params.set(constant, ndarray('f32', shape.map((d) => d.min), data)); // biome-ignore format: one row
    }
    for (const p of graph.params) {
      if (params.has(p.attrs.name) || p.attrs.kind !== 'state') continue;
      params.set(p.attrs.name, ndarray(p.type.dtype, p.type.shape.map((d) => d.min))); // biome-ignore format: one row
    }
    const ones = ndarray('bool', ids.shape, ids.data.map(() => 1)); // biome-ignore format: one row
    const labels = ndarray('i32', ids.shape, ids.data);
    params.set('input_ids', labels).set('labels', labels).set('attention_mask', ones);
    params.set('num_items', ndarray('f32', [], [batch * (seq - 1)]));

    const { results, updates } = evaluate(graph, { params }, 'doubles');
    expect(results.get('loss')!.data[0]).toBeCloseTo(train.losses[0], 4);
    const names = underTheirNames(training.parameters);
    const largest = Math.max(...Object.values(train.grad_norms_step0));
    for (const [parameter, norm] of Object.entries(train.grad_norms_step0)) {
      const parts = (names.get(parameter) ?? [parameter]).map((part) => updates.get(`grad.${part}`)!);
      const actual = Math.sqrt(parts.reduce((sum, gradient) => sum + dot(gradient, gradient), 0));
      // norms below a thousandth of the largest are what rounding in f32 left of 0
      const error = Math.abs(actual - norm) / Math.max(norm, largest / 1000);
      expect(error, parameter).toBeLessThan(1e-3);
    }

    const lossOnly: Graph = { ...graph, results: new Map([['loss', graph.results.get('loss')!]]), updates: new Map() };
    const directions = training.parameters.map((p, i) => [p, uniform(params.get(p)!.shape, 7 + i, -1, 1)] as const);
    const moved = (by: number): number => {
      const shifted = directions.map(([p, direction]) => {
        const x = params.get(p)!;
        return [p, { ...x, data: x.data.map((v, i) => v + by * direction.data[i]) }] as const;
      });
      return evaluate(lossOnly, { params: new Map([...params, ...shifted]) }, 'doubles').results.get('loss')!.data[0];
    };
    const h = 3e-7; // the direction is long: its norm grows with the root of the number of parameters
    const slope = (moved(h) - moved(-h)) / (2 * h);
    const gradient = directions.reduce((sum, [p, direction]) => sum + dot(updates.get(`grad.${p}`)!, direction), 0);
    expect(Math.abs(gradient - slope)).toBeLessThan(1e-6 * Math.max(1, Math.abs(slope)));
  });
});
