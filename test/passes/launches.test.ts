// How many launches a decoder layer takes when it decodes: what fusion is for. Compiled from configs alone, for every kind
// of target; the layers between the first and the last are counted.
import { describe, expect, test } from 'vitest';
import { hostTarget } from '../../backends/cpu/target.ts';
import { cudaTarget } from '../../backends/cuda/target.ts';
import { webgpuTarget } from '../../backends/webgpu/target.ts';
import { checkpoint } from '../../bench/checkpoint.ts';
import { describeModel, fittedModel } from '../../frontends/huggingface/index.ts';
import type { Launch, Program } from '../../ir/program.ts';
import type { Target } from '../../ir/target.ts';
import { compile } from '../../runtime/compiler/compile.ts';
import { graphOf } from '../support/golden.ts';

/** The decoding step of the smallest benchmark model with so many layers; `extra` changes its config. */
function decoding(layers: number, target: Target, extra: Readonly<Record<string, unknown>>): Program {
  const tiny = checkpoint('tiny', 'bf16');
  const first = [...tiny.tensors].flatMap(([name, tensor]) => {
    const bias = [name.replace('.weight', '.bias'), { ...tensor, shape: tensor.shape.slice(0, 1) }] as const;
    const isBiased = extra.model_type === 'qwen2' && /layers\.0\..*[qkv]_proj/.test(name);
    return isBiased ? [[name, tensor] as const, bias] : [[name, tensor] as const];
  });
  const all = Array.from({ length: layers }, (_, i) =>
    first.map(([name, tensor]) => [name.replace('layers.0.', `layers.${i}.`), tensor] as const),
  );
  const config = { ...tiny.config, num_hidden_layers: layers, ...extra };
  const model = fittedModel({ ...tiny, config, tensors: new Map(all.flat()) }, 'causal-lm');
  return compile('tiny', { decode: graphOf(model, 'decode', { batch: 8, length: 512, chunk: 64 }) }, target);
}

/** What a layer adds: the launches of four layers that those of three do not have. */
function perLayer(target: Target, extra: Readonly<Record<string, unknown>> = {}): number {
  const [three, four] = [3, 4].map((n) => decoding(n, target, extra).entries.decode.steps.length);
  return four - three;
}

const kindsOf = (program: Program): string[] =>
  program.entries.decode.steps.map((step: Launch) =>
    step.parts
      .flatMap(({ kernel }) => program.kernels[kernel].note.split('; ').map((note) => note.split(':')[0]))
      .join(),
  );

// q, k and v with norm, rotation and append; attention over runs of keys; their merge; the output projection with the
// residual; norm, gate and up with the activation; down with the residual
const launches = 6;

describe.each([
  ['cuda', cudaTarget('sm_90a')],
  ['webgpu', webgpuTarget()],
] as const)('%s', (_, target) => {
  test.each([
    ['llama', {}],
    ['qwen2, with biases', { model_type: 'qwen2' }],
    ['granite, with multipliers', { model_type: 'granite', residual_multiplier: 0.5 }],
  ])('%s', (_name, extra) => {
    expect(perLayer(target, extra)).toBe(launches);
  });

  test('a step is a chain of launches', () => {
    for (const { parts } of decoding(4, target, {}).entries.decode.steps) expect(parts.length).toBe(1);
  });

  test('everything but the attention is in products', () => {
    const middle = kindsOf(decoding(4, target, {})).slice(-2 * launches - 3, -launches - 3);
    expect(middle).toEqual(['matvec,matvec,matvec', 'attention', 'map', 'matvec', 'matvec', 'matvec']);
  });
});

test.each([
  ['llama', 'num_hidden_layers'],
  ['gemma2', 'num_hidden_layers'],
  ['olmo2', 'num_hidden_layers'],
  ['cohere', 'num_hidden_layers'],
  ['gpt2', 'n_layer'],
  ['bloom', 'n_layer'],
  ['gpt_oss', 'num_hidden_layers'],
])('%s: more layers take no other kernels, and read no more arrays', (model_type, depth) => {
  const kernels = [4, 6].map((layers) => {
    const model = describeModel({ model_type, [depth]: layers }, 'config.json', 'causal-lm');
    const decode = model.trace('decode', { batch: 2, length: 256, chunk: 64 }, () => 'bf16');
    return compile(model_type, { decode }, cudaTarget('sm_90a')).kernels;
  });
  expect(kernels[1].length).toBe(kernels[0].length);
  for (const { buffers, note } of kernels[1]) expect(buffers.length, note).toBeLessThanOrEqual(16); // of four products
});

test('cpu: rotation and append are a launch, a merge only where threads outnumber the key heads', () => {
  expect(perLayer({ ...hostTarget(), threads: 2 })).toBe(6);
});
