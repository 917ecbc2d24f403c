// An architecture of your own: a decoder whose attention and squared-ReLU MLP run side by side. Fields are the checkpoint's
// weight names ('blocks.0.qkv.weight'). In your project the import is from 'modelc/nn'.
import * as nn from '../frontends/dsl/index.ts';

const [vocab, size, heads] = [256, 64, 4];

class Block extends nn.Module {
  norm = new nn.LayerNorm(size);
  qkv = new nn.Linear(size, 3 * size, { bias: false });
  out = new nn.Linear(size, size);
  up = new nn.Linear(size, 4 * size);
  down = new nn.Linear(4 * size, size);

  forward(x: nn.Tensor, layer: number, rotation: nn.Rotation, { cache, mask }: nn.CausalInputs): nn.Tensor {
    const h = this.norm.forward(x);
    const [q, k, v] = this.qkv
      .forward(h)
      .split([size, size, size], -1)
      .map((y) => nn.splitHeads(y, heads));
    const [keys, values] = cache.update(layer, nn.rope(k, rotation), v);
    const attended = nn.mergeHeads(nn.attention(nn.rope(q, rotation), keys, values, { mask }));
    const mixed = this.down.forward(nn.relu(this.up.forward(h)).square());
    return x.add(this.out.forward(attended)).add(mixed);
  }
}

export class ParallelDecoder extends nn.Module implements nn.CausalModel {
  tokens = new nn.Embedding(vocab, size);
  blocks = [new Block(), new Block()];
  norm = new nn.LayerNorm(size);
  rotary = new nn.RotaryEmbedding({ dim: size / heads, theta: 10000, scaling: { type: 'default' } });

  forward(inputs: nn.CausalInputs): nn.Tensor[] {
    const rotation = this.rotary.forward(inputs.positionIds, inputs.cache.length);
    const states = [this.tokens.forward(inputs.inputIds)];
    for (const [i, block] of this.blocks.entries()) states.push(block.forward(states[i], i, rotation, inputs));
    return states;
  }
  finalNorm(hidden: nn.Tensor): nn.Tensor {
    return this.norm.forward(hidden);
  }
  logits(hidden: nn.Tensor): nn.Tensor {
    return this.tokens.project(hidden);
  }
}

/** The graph of one decoding step, ready for the compiler. */
export const { graph, constants } = nn.traceCausalLM(
  new ParallelDecoder(),
  'decode',
  { maxBatch: 1, maxLength: 128, chunk: 64 },
  () => 'f32',
);
