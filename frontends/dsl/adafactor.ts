// Adafactor (Shazeer and Stern 2018) as transformers computes it: the second moment of a matrix is kept as the averages of
// its rows and of its columns; the update is clipped by its root mean square.
import { ModelcError } from '../../ir/error.ts';
import { checkOption, type Optimizer, type OptimizerInputs, type OptimizerState, stored } from './optimizers.ts';
import { scalar, type Tensor } from './tensor.ts';

/** Options of Adafactor: names and defaults are those of transformers. */
export interface AdafactorOptions {
  /**
   * What is added to the squared gradient, and the least root mean square that a parameter is taken to have ([1e-30,
   * 1e-3]).
   */
  readonly eps?: readonly [number, number];
  /** The largest root mean square of an update: larger ones are scaled down to it (1). */
  readonly clip_threshold?: number;
  /** The second moment of step t is averaged with the factor 1 - t^decay_rate (-0.8). */
  readonly decay_rate?: number;
  /** The factor by which updates are averaged, from 0 to 1; null, the default: no first moment. */
  readonly beta1?: number | null;
  /** The share of a parameter that a step of rate 1 takes away (0). */
  readonly weight_decay?: number;
  /** Whether the learning rate is multiplied by the root mean square of the parameter (true). */
  readonly scale_parameter?: boolean;
  /** Whether the learning rate is min(0.01, 1/√t) in place of the given one (true). */
  readonly relative_step?: boolean;
  /** Whether that begins with 1e-6 t in place of 0.01 (false). Needs `relative_step`. */
  readonly warmup_init?: boolean;
}

/** The square root of the mean of all squares. */
const rootMeanSquare = (x: Tensor): Tensor => x.square().mean().sqrt();

/**
 * Adafactor (Shazeer and Stern 2018), with the defaults of transformers.optimization.Adafactor. States:
 * `exp_avg_sq_row` and `exp_avg_sq_col` for tensors of two axes and more, `exp_avg_sq` for others, and `exp_avg` with
 * `beta1`. Throws ModelcError 'input' for values out of bounds, and for `warmup_init` without `relative_step`.
 */
export function Adafactor(options: AdafactorOptions = {}): Optimizer {
  const { eps = [1e-30, 1e-3], clip_threshold = 1, decay_rate = -0.8, beta1 = null, weight_decay = 0 } = options;
  const { scale_parameter = true, relative_step = true, warmup_init = false } = options;
  checkOption('Adafactor', 'clip_threshold', clip_threshold, Number.MIN_VALUE);
  checkOption('Adafactor', 'weight_decay', weight_decay);
  if (beta1 !== null) checkOption('Adafactor', 'beta1', beta1, 0, 1);
  if (warmup_init && !relative_step) {
    throw new ModelcError(
      'input',
      'the optimizer Adafactor with warmup_init needs relative_step: set it, or leave it out',
    );
  }

  const rateOf = ({ parameter, learningRate, step }: OptimizerInputs): Tensor => {
    const least = warmup_init ? step.mul(1e-6) : scalar(1e-2);
    const rate = relative_step ? least.minimum(step.rsqrt()) : learningRate;
    return scale_parameter ? rate.mul(rootMeanSquare(parameter.cast('f32')).maximum(eps[1])) : rate;
  };

  return {
    state({ shape }) {
      const zero = (s: OptimizerState['shape']): OptimizerState => ({ shape: s, initial: 0 });
      return {
        ...(shape.length >= 2
          ? {
              exp_avg_sq_row: zero(shape.slice(0, -1)),
              exp_avg_sq_col: zero([...shape.slice(0, -2), ...shape.slice(-1)]),
            }
          : { exp_avg_sq: zero(shape) }),
        ...(beta1 !== null && { exp_avg: zero(shape) }),
      };
    },
    update(inputs) {
      const { gradient, states, step } = inputs;
      const rate = rateOf(inputs);
      const fresh = step.pow(decay_rate);
      const blend = (old: Tensor, value: Tensor): Tensor => old.mul(fresh.neg().add(1)).add(value.mul(fresh));
      const square = gradient.square().add(eps[0]);
      const next: Record<string, Tensor> = {};
      let scaled: Tensor;
      if (gradient.rank >= 2) {
        const row = blend(states.exp_avg_sq_row, square.mean(-1));
        const col = blend(states.exp_avg_sq_col, square.mean(-2));
        Object.assign(next, { exp_avg_sq_row: row, exp_avg_sq_col: col });
        const rowFactor = row.div(row.mean(-1, true)).rsqrt();
        scaled = rowFactor.unsqueeze(-1).mul(col.rsqrt().unsqueeze(-2)).mul(gradient);
      } else {
        next.exp_avg_sq = blend(states.exp_avg_sq, square);
        scaled = next.exp_avg_sq.rsqrt().mul(gradient);
      }
      let change = scaled.div(rootMeanSquare(scaled).div(clip_threshold).maximum(1)).mul(rate);
      if (beta1 !== null) {
        change = states.exp_avg.mul(beta1).add(change.mul(1 - beta1));
        next.exp_avg = change;
      }
      const p = inputs.parameter.cast('f32');
      const kept = weight_decay === 0 ? p : p.mul(rate.mul(-weight_decay).add(1));
      return { parameter: stored(inputs, kept.sub(change)), states: next };
    },
  };
}
