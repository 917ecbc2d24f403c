// What the DSL refuses, and how it says so: every method and layer with tensors that do not fit throws while the model is
// traced, and the error names the layer by its path, and its weight.
import { describe, expect, test } from 'vitest';
import * as nn from '../../frontends/dsl/index.ts';
import type { DType } from '../../ir/dtype.ts';
import { ModelcError } from '../../ir/error.ts';

type Inputs = Readonly<Record<'v' | 'm' | 'm2' | 'b' | 'i' | 'p' | 'h' | 'half' | 's', nn.Tensor>>;

/** A model of layers that a case uses. */
class Layers extends nn.Module {
  linear = new nn.Linear(4, 3);
  conv = new nn.Conv1D(4, 3);
  tokens = new nn.Embedding(5, 4);
  rms = new nn.RMSNorm(4);
  layer = new nn.LayerNorm(4);
  causal = new nn.CausalConv1d(4, 2);
  rotary = new nn.RotaryEmbedding({ dim: 4, theta: 10000, scaling: { type: 'default' } });
}

function traced(build: (x: Inputs, layers: Layers) => unknown): void {
  const model = new Layers();
  nn.trace('test', model, (): DType => 'f32', (t) => {
    const x: Inputs = {
      v: t.input('v', 'f32', [4]), // a vector
      m: t.input('m', 'f32', [3, 4]), // a matrix
      m2: t.input('m2', 'f32', [3, 4]),
      b: t.input('b', 'bool', [3, 4]),
      i: t.input('i', 'i32', [3, 4]),
      p: t.input('p', 'i32', [2, 3]), // positions
      h: t.input('h', 'f32', [2, 2, 3, 4]), // heads
      half: t.input('half', 'f16', [3, 4]),
      s: t.input('s', 'f32', []), // a scalar
    }; // biome-ignore format: one table
    build(x, model);
    t.result('y', x.v);
  }); // biome-ignore format: one call
}

const anything = (value: unknown): never => value as never;
const rotation = (x: Inputs, { rotary }: Layers): nn.Rotation => rotary.forward(x.p, 3);
const carried: nn.Carried = { before: undefined, keep: () => undefined };

const refused: Readonly<Record<string, (x: Inputs, layers: Layers) => unknown>> = {
  // elementwise
  'add of shapes': ({ v, m }) => v.reshape([2, 2]).add(m),
  'add of text': ({ m }) => m.add(anything('1')),
  'add of nothing': ({ m }) => m.add(anything(undefined)),
  'add of bools': ({ b }) => b.add(b),
  'mul of shapes': ({ m, h }) => m.mul(h.reshape([16, 3])),
  'pow of integers': ({ i }) => i.pow(2),
  'neg of bools': ({ b }) => b.neg(),
  'floor of integers': ({ i }) => i.floor(),
  'round of integers': ({ i }) => i.round(),
  'exp of integers': ({ i }) => i.exp(),
  'log of bools': ({ b }) => b.log(),
  'sqrt of integers': ({ i }) => i.sqrt(),
  'rsqrt of integers': ({ i }) => i.rsqrt(),
  'tanh of integers': ({ i }) => i.tanh(),
  'erf of integers': ({ i }) => i.erf(),
  'sin of integers': ({ i }) => i.sin(),
  'cos of integers': ({ i }) => i.cos(),
  'cast to a type that is none': ({ i }) => i.cast(anything('f64')),
  'eq of shapes': ({ v, m }) => m.eq(v.slice(0, 0, 3)),
  'and of floats': ({ m }) => m.and(m),
  'or of floats': ({ m }) => m.or(m),
  // choices
  'where with integers as condition': ({ i, m }) => nn.where(i, m, m),
  'where with floats as condition': ({ m }) => nn.where(m, m, 0),
  'where of shapes': ({ b, h }) => nn.where(b, h.reshape([4, 12]), 0),
  // shapes
  'reshape to another size': ({ m }) => m.reshape([5, 2]),
  'reshape with two open sizes': ({ m }) => m.reshape([-1, -1]),
  'reshape to fractions': ({ m }) => m.reshape([1.5, 8]),
  'reshape to negative sizes': ({ m }) => m.reshape([-2, -6]),
  'reshape where -1 does not fit': ({ m }) => m.reshape([5, -1]),
  'permute of too few axes': ({ m }) => m.permute([0]),
  'permute with an axis twice': ({ m }) => m.permute([0, 0]),
  'permute of an axis out of range': ({ m }) => m.permute([0, 2]),
  'transpose of an axis out of range': ({ m }) => m.transpose(0, 2),
  'broadcastTo fewer axes': ({ m }) => m.broadcastTo([4]),
  'broadcastTo other sizes': ({ m }) => m.broadcastTo([3, 5]),
  'unsqueeze out of range': ({ m }) => m.unsqueeze(3),
  'unsqueeze far below': ({ m }) => m.unsqueeze(-4),
  'unsqueeze of a fraction': ({ m }) => m.unsqueeze(0.5),
  'squeeze of a large axis': ({ m }) => m.squeeze(0),
  'squeeze out of range': ({ m }) => m.squeeze(2),
  'slice beyond the end': ({ m }) => m.slice(1, 2, 5),
  'slice before the start': ({ m }) => m.slice(1, -5),
  'slice backwards': ({ m }) => m.slice(1, 3, 2),
  'slice with stride 0': ({ m }) => m.slice(1, 0, 4, 0),
  'slice of an axis out of range': ({ m }) => m.slice(2, 0, 1),
  'slice from a fraction': ({ m }) => m.slice(1, 0.5),
  'split into too few': ({ m }) => m.split([1, 2], 1),
  'split into too many': ({ m }) => m.split([2, 3], 1),
  'split into none': ({ m }) => m.split([], 1),
  'split of an axis out of range': ({ m }) => m.split([3], 2),
  'concat of ranks': ({ v, m }) => nn.concat([v, m]),
  'concat of sizes': ({ m }) => nn.concat([m, m.slice(1, 0, 2)], 0),
  'concat along an axis out of range': ({ m }) => nn.concat([m, m], 2),
  'concat of one along an axis out of range': ({ m }) => nn.concat([m], 2),
  'concat of nothing': () => nn.concat([]),
  'concat of numbers': () => nn.concat([anything(1)]),
  // reductions
  'sum over an axis out of range': ({ m }) => m.sum(2),
  'sum over an axis twice': ({ m }) => m.sum([0, 0]),
  'sum of bools': ({ b }) => b.sum(),
  'max over an axis out of range': ({ m }) => m.max(-3),
  'mean of integers': ({ i }) => i.mean(),
  'mean of bools': ({ b }) => b.mean(),
  'all of integers': ({ i }) => i.all(),
  'any of floats': ({ m }) => m.any(),
  'cumsum out of range': ({ m }) => m.cumsum(2),
  'cumsum of bools': ({ b }) => b.cumsum(0),
  'softmax of integers': ({ i }) => i.softmax(),
  'softmax out of range': ({ m }) => m.softmax(2),
  'topK of more than there are': ({ m }) => m.topK(5),
  'topK of none': ({ m }) => m.topK(0),
  'topK of a fraction': ({ m }) => m.topK(1.5),
  'argmax of a scalar': ({ s }) => s.argmax(),
  // products and lookups
  'matmul of sizes': ({ m, m2 }) => m.matmul(m2),
  'matmul of vectors': ({ v }) => v.matmul(v),
  'matmul of unlike floats': ({ m, half }) => m.matmul(half.transpose(0, 1)),
  'matmul of floats and integers': ({ m, i }) => m.matmul(i.transpose(0, 1)),
  'matmul of bools': ({ b }) => b.matmul(b.transpose(0, 1)),
  'matmul of batches': ({ h }) => h.matmul(h.reshape([3, 2, 4, 2])),
  'gather with floats': ({ m, v }) => m.gather(v),
  'gather with bools': ({ m, b }) => m.gather(b),
  'gather out of range': ({ m, i }) => m.gather(i, 2),
  // layers
  'Linear of sizes': ({ m }, { linear }) => linear.forward(m.transpose(0, 1)),
  'Linear of integers': ({ i }, { linear }) => linear.forward(i),
  'Linear of another float': ({ half }, { linear }) => linear.forward(half),
  'Linear of a scalar': ({ s }, { linear }) => linear.forward(s),
  'Conv1D of sizes': ({ m }, { conv }) => conv.forward(m.transpose(0, 1)),
  'Conv1D of a scalar': ({ s }, { conv }) => conv.forward(s),
  'Embedding of floats': ({ v }, { tokens }) => tokens.forward(v),
  'Embedding of bools': ({ b }, { tokens }) => tokens.forward(b),
  'Embedding.project of sizes': ({ m }, { tokens }) => tokens.project(m.transpose(0, 1)),
  'RMSNorm of sizes': ({ m }, { rms }) => rms.forward(m.transpose(0, 1)),
  'RMSNorm of integers': ({ i }, { rms }) => rms.forward(i),
  'RMSNorm of a scalar': ({ s }, { rms }) => rms.forward(s),
  'LayerNorm of sizes': ({ m }, { layer }) => layer.forward(m.transpose(0, 1)),
  'LayerNorm of bools': ({ b }, { layer }) => layer.forward(b),
  'CausalConv1d of channels': ({ h }, { causal }) => causal.forward(h.reshape([2, 8, 3]), carried),
  'CausalConv1d of a matrix': ({ m }, { causal }) => causal.forward(m, carried),
  'rope of another length': (x, layers) => nn.rope(x.h.slice(2, 0, 2), rotation(x, layers)),
  'rope of a narrow head': (x, layers) => nn.rope(x.h.slice(3, 0, 2), rotation(x, layers)),
  'rope of a matrix': (x, layers) => nn.rope(x.m, rotation(x, layers)),
  'rope in another style': (x, layers) => nn.rope(x.h, rotation(x, layers), anything('full')),
  // attention
  'attention of matrices': ({ m }) => nn.attention(m, m, m),
  'attention of batches': ({ h }) => nn.attention(h, h.slice(0, 0, 1), h.slice(0, 0, 1)),
  'attention of widths': ({ h }) => nn.attention(h, h.slice(3, 0, 2), h),
  'attention of lengths': ({ h }) => nn.attention(h, h, h.slice(2, 0, 2)),
  'attention of heads': ({ h }) => nn.attention(h, nn.concat([h, h.slice(1, 0, 1)], 1), nn.concat([h, h.slice(1, 0, 1)], 1)),
  'attention of integers': ({ h }) => nn.attention(h.cast('i32'), h.cast('i32'), h.cast('i32')),
  'attention of unlike types': ({ h }) => nn.attention(h, h.cast('f16'), h),
  'attention with a mask of floats': ({ h }) => nn.attention(h, h, h, { mask: nn.full([2, 3], 1) }),
  'attention with a mask of another shape': ({ h }) => nn.attention(h, h, h, { mask: nn.full([2, 4], 1, 'bool') }),
  'attention with a mask of queries': ({ h }) => nn.attention(h, h, h, { mask: nn.full([2, 1, 3, 3], 1, 'bool') }),
  'attention with lengths of floats': ({ h }) => nn.attention(h, h, h, { mask: new nn.RowLengths(nn.full([2], 1)) }),
  'attention with lengths of queries': ({ h }) => nn.attention(h, h, h, { mask: new nn.RowLengths(nn.full([2, 3], 1, 'i32')) }),
  'attention with a bias of another shape': ({ h }) => nn.attention(h, h, h, { bias: nn.full([1, 3, 3, 3], 0) }),
  'attention with sinks of another size': ({ h }) => nn.attention(h, h, h, { sinks: nn.full([3], 0) }),
  'attention with a negative window': ({ h }) => nn.attention(h, h, h, { window: -1 }),
  'attention with a negative softcap': ({ h }) => nn.attention(h, h, h, { softcap: -1 }),
  'attention with a scale that is no number': ({ h }) => nn.attention(h, h, h, { scale: Number.NaN }),
  'splitHeads into heads that do not divide': ({ h }) => nn.splitHeads(h.reshape([2, 3, 8]), 3),
  'splitHeads into none': ({ h }) => nn.splitHeads(h.reshape([2, 3, 8]), 0),
  'splitHeads into a fraction': ({ h }) => nn.splitHeads(h.reshape([2, 3, 8]), 1.5),
  'splitHeads of heads': ({ h }) => nn.splitHeads(h, 2),
  'splitHeads of a matrix': ({ m }) => nn.splitHeads(m, 2),
  'mergeHeads of what has none': ({ h }) => nn.mergeHeads(h.reshape([2, 3, 8])),
  // losses
  'crossEntropy with labels of floats': ({ m, v }) => nn.crossEntropy(m, v.slice(0, 0, 3)),
  'crossEntropy with labels of another length': ({ m, p }) => nn.crossEntropy(m, p),
  'crossEntropy of integers': ({ i, p }) => nn.crossEntropy(i, p.slice(0, 0, 1).squeeze(0)),
  'crossEntropy with a share beyond 1': ({ m, p }) => nn.crossEntropy(m, p.slice(0, 0, 1).squeeze(0), { smoothing: 2 }),
  'causalLoss with labels of one row': ({ m, p }) => nn.causalLoss(m, p.slice(0, 0, 1).squeeze(0)),
  'causalLoss with labels of floats': ({ h, m }) => nn.causalLoss(h.reshape([3, 4, 4]), m),
  'meanSquaredError of shapes': ({ m, v }) => nn.meanSquaredError(m, v),
  'binaryCrossEntropy of shapes': ({ m, v }) => nn.binaryCrossEntropy(m, v),
  'spanLoss of another rank': ({ m, p }) => nn.spanLoss([m, m], [p, p]),
  'dropout of a rate beyond 1': ({ m }) => nn.dropout(m, 1.5),
  'an activation that nobody knows': () => nn.activation('gelu2'),
  // declarations
  'full of negative sizes': () => nn.full([-1], 0),
  'arange of a negative size': () => nn.arange(-2),
  'a size that is no integer': () => nn.sizeOf(1.5),
  'a linear layer without inputs': () => new nn.Linear(0, 3),
  'a linear layer with half an output': () => new nn.Linear(2, 1.5),
  'a linear layer of nothing': () => new nn.Linear(anything(undefined), 3),
  'a table with a padding row that it lacks': () => new nn.Embedding(4, 2, { padding: 4 }),
  'a rotary embedding of odd size': () => new nn.RotaryEmbedding({ dim: 3, theta: 1, scaling: { type: 'default' } }),
}; // biome-ignore format: one table

test.each(Object.entries(refused))('%s is refused', (_, build) => {
  let thrown: unknown;
  try {
    traced(build);
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(ModelcError);
  const { code, message } = thrown as ModelcError;
  expect(['type', 'input']).toContain(code);
  expect(message).not.toMatch(/undefined|\[object|NaN (is|of)/);
});

test('what fits is accepted beside it', () => {
  traced((x, layers) => {
    const { v, m, b, i, p, h, half } = x;
    m.split([1, 3], 1);
    m.gather(i.cast('i64'));
    half.matmul(half.transpose(0, 1));
    i.matmul(i.transpose(0, 1));
    nn.where(b, m, i); // PyTorch's promotion
    nn.concat([m, i]);
    m.add(i).mul(2).add(b);
    b.all();
    layers.tokens.forward(p.cast('u8'));
    layers.linear.forward(m).unsqueeze(-1).squeeze(-1);
    layers.causal.forward(h.reshape([2, 6, 4]), carried);
    nn.attention(nn.rope(h, rotation(x, layers)), h, h, { mask: nn.full([2, 3], 1, 'bool') });
    nn.mergeHeads(nn.splitHeads(h.reshape([2, 3, 8]), 2));
    nn.crossEntropy(m, p.slice(0, 0, 1).squeeze(0).cast('i64'));
    nn.meanSquaredError(v, v);
  });
});

class Mlp extends nn.Module {
  up_proj = new nn.Linear(8, 16, { bias: false });
  down_proj = new nn.Linear(12, 8);

  forward(x: nn.Tensor): nn.Tensor {
    return this.down_proj.forward(this.up_proj.forward(x));
  }
}

class Layer extends nn.Module {
  mlp = new Mlp();

  forward(x: nn.Tensor, wrong: boolean): nn.Tensor {
    return wrong ? x.add(x.slice(1, 0, 3)) : this.mlp.forward(x);
  }
}

class Model extends nn.Module {
  layers = [new Layer(), new Layer()];
  norm = new nn.RMSNorm(7);

  forward(x: nn.Tensor, wrong: boolean): nn.Tensor {
    return this.layers[1].forward(x, wrong);
  }
  finish(x: nn.Tensor): nn.Tensor {
    return this.norm.forward(x);
  }
  alone(x: nn.Tensor): nn.Tensor {
    return x.reshape([5]);
  }
}

describe('an error of a layer', () => {
  const messageOf = (run: (model: Model, x: nn.Tensor) => nn.Tensor): string => {
    const model = new Model();
    try {
      nn.trace('step', model, () => 'bf16', (t) => t.result('y', run(model, t.input('x', 'f32', [2, 8])))); // biome-ignore format: one call
    } catch (error) {
      expect(error).toBeInstanceOf(ModelcError);
      return (error as ModelcError).message;
    }
    throw new Error('nothing was refused');
  };

  test('names the path of the layer, its weight and the sizes, and the constraint last', () => {
    expect(messageOf((model, x) => model.forward(x, false))).toBe(
      'layers.1.mlp.down_proj: paired axes must be equal, got 16 and 12, in a product of f32[2, 16], the weight layers.1.mlp.down_proj.weight f32[8, 12] (dot_general C3)',
    );
    expect(messageOf((model, x) => model.finish(x))).toBe(
      'norm: scale must be f32[8], got f32[7], in norm of the input x f32[2, 8], the weight norm.weight f32[7] (norm C3)',
    );
  });

  test('of the author’s own methods names theirs', () => {
    expect(messageOf((model, x) => model.forward(x, true))).toBe(
      'layers.1: shapes [2, 8] and [2, 3] do not broadcast together: the input x f32[2, 8] and the input x f32[2, 3]',
    );
    expect(messageOf((model, x) => model.alone(x))).toMatch(/^Model: .* do not have equally many elements/);
  });

  test('that was caught leaves the path of the caller', () => {
    class Careful extends nn.Module {
      inner = new nn.Linear(3, 3);
      forward(x: nn.Tensor): nn.Tensor {
        try {
          return this.inner.forward(x);
        } catch {
          return x.reshape([7]);
        }
      }
    }
    class Outer extends nn.Module {
      careful = new Careful();
    }
    const model = new Outer();
    const build = (t: nn.Tracer): void => t.result('y', model.careful.forward(t.input('x', 'f32', [2, 8])));
    expect(() => nn.trace('step', model, () => 'f32', build)).toThrow(/^careful: /);
  });
});

test('a model whose layers carry something must say that it masks padding', () => {
  class Carrying extends nn.Module implements nn.CausalModel {
    tokens = new nn.Embedding(5, 4);
    padding: nn.CausalModel['padding'];
    forward({ inputIds, attentionMask, cache }: nn.CausalInputs): nn.Tensor[] {
      const x = this.tokens.forward(inputIds).mul(attentionMask.unsqueeze(-1).cast('f32'));
      const { before, keep } = cache.carry(1, 'sum', [inputIds.shape[0], 4]);
      keep(x.sum(1).add(before!));
      return [x];
    }
    finalNorm = (hidden: nn.Tensor): nn.Tensor => hidden;
    logits = (hidden: nn.Tensor): nn.Tensor => this.tokens.project(hidden);
  }
  const inputsOf = (padding: nn.CausalModel['padding']): string[] => {
    const model = Object.assign(new Carrying(), { padding });
    const limits = { maxBatch: 2, maxLength: 8, chunk: 4 };
    const { graph } = nn.traceCausalLM(model, 'prefill', limits, (): DType => 'f32');
    return graph.params.flatMap(({ attrs: { kind, name } }) => (kind === 'input' ? [name] : []));
  };
  expect(() => inputsOf(undefined)).toThrow(/layer 1 carries sum, so the model must declare padding = 'mask'/);
  expect(inputsOf('mask')).toEqual(['input_ids', 'attention_mask', 'position_ids']);
});
