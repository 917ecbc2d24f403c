// What recurrent layers are made of: a convolution that looks back some positions, and a linear recurrence. Both go on from
// what the run before has carried over.
import { type Dim, dimAdd, dimConst, dimSub } from '../../ir/dim.ts';
import type { Carried } from './cache.ts';
import { uniform, zeros } from './initializers.ts';
import { Module, Parameter } from './module.ts';
import { concat, full, op, type Tensor } from './tensor.ts';

/** Every channel by itself: y[t] = bias + sum over k of weight[channel, 0, k] * x[t - size + 1 + k]; 0 before the first. */
export class CausalConv1d extends Module {
  /** [channels, 1, size] */
  readonly weight: Parameter;
  /** [channels]; undefined with `bias: false`. */
  readonly bias: Parameter | undefined;

  constructor(
    channels: number,
    /** How many positions a result looks at, its own included. */
    readonly size: number,
    { bias = true }: { bias?: boolean } = {},
  ) {
    super();
    const bound = size ** -0.5;
    this.weight = new Parameter([channels, 1, size], uniform(-bound, bound));
    this.bias = bias ? new Parameter([channels], zeros) : undefined;
  }

  /** x and the result are [batch, seq, channels]; carries the last size - 1 positions, [batch, size - 1, channels]. */
  forward(x: Tensor, carried: Carried): Tensor {
    const { size } = this;
    const [batch, seq, channels]: readonly Dim[] = x.shape;
    const all = concat([carried.before ?? full([batch, size - 1, channels], 0), x], 1);
    carried.keep(all.slice(1, seq));
    const weight = this.weight.value.squeeze(1);
    const terms = Array.from({ length: size }, (_, k) =>
      all.slice(1, k, dimAdd(seq, k)).mul(weight.slice(1, k, k + 1).squeeze(1)),
    );
    const sum = terms.reduce((a, b) => a.add(b));
    return this.bias ? sum.add(this.bias.value) : sum;
  }
}

/** h[t] = decay[t] * h[t-1] + input[t] along axis 1 of [batch, seq, …]; carries the last h, [batch, …]. */
export function linearRecurrence(decay: Tensor, input: Tensor, carried: Carried): Tensor {
  const { before } = carried;
  const [, seq]: readonly Dim[] = decay.shape;
  if (before && dimConst(seq) === 1) {
    const after = decay.squeeze(1).mul(before).add(input.squeeze(1));
    carried.keep(after);
    return after.unsqueeze(1);
  }
  const args = [decay, input, ...(before ? [before] : [])];
  const states = op('scan', args, { op: 'affine', axis: 1, exclusive: false, reverse: false });
  carried.keep(states.slice(1, dimSub(seq, 1)).squeeze(1));
  return states;
}
