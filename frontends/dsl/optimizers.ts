// Optimizers as functions of the DSL: what an optimizer keeps per parameter, and the new values that one step gives. They
// are traced into the step's graph, so an update is fused like any other arithmetic. Formulas, defaults and names of the
// states are those of PyTorch (AdamW, SGD, RMSprop, Adagrad), of bitsandbytes (Lion), and of the files adafactor.ts and
// muon.ts. All arithmetic and all states are f32; the new parameter is rounded to the parameter's own dtype at the end.
import type { Dim } from '../../ir/dim.ts';
import { ModelcError } from '../../ir/error.ts';
import { full, scalar, type Tensor, where } from './tensor.ts';

/** The parameter that an optimizer is asked about. */
export interface Trained {
  /** Its path in the model. */
  readonly name: string;
  /** Sizes of its axes. */
  readonly shape: readonly Dim[];
}

/** f32 values that an optimizer keeps from step to step, all `initial` before the first. */
export interface OptimizerState {
  /** Sizes of its axes. */
  readonly shape: readonly Dim[];
  /** What all its values are before the first step. */
  readonly initial: number;
}

/** What an optimizer is given of one parameter in one step. */
export interface OptimizerInputs {
  /** The path of the parameter in the model. */
  readonly name: string;
  /** Its value before the step. */
  readonly parameter: Tensor;
  /** f32, of the parameter's shape. */
  readonly gradient: Tensor;
  /** By the names that `state` gave. */
  readonly states: Readonly<Record<string, Tensor>>;
  /** f32 scalar. */
  readonly learningRate: Tensor;
  /** f32 scalar: 1 in the first step. */
  readonly step: Tensor;
}

/** What one step makes of a parameter. */
export interface OptimizerOutputs {
  /** Its value after the step, in its own dtype. */
  readonly parameter: Tensor;
  /** The values of all states after the step, f32. */
  readonly states: Readonly<Record<string, Tensor>>;
}

/** How parameters follow their gradients: AdamW(), SGD(), … give one, and an object with these two functions is one. */
export interface Optimizer {
  /** What is kept for a parameter, by name. Throws ModelcError 'input' for a shape that the optimizer does not serve. */
  state(parameter: Trained): Readonly<Record<string, OptimizerState>>;
  /** Traces one step of one parameter. No step looks at another parameter. */
  update(inputs: OptimizerInputs): OptimizerOutputs;
}

/** Checks an option's bounds: `least` ≤ value < `below`. */
export function checkOption(optimizer: string, option: string, value: number, least = 0, below = Infinity): void {
  if (value >= least && value < below) return;
  const bounds = below === Infinity ? `${least} or more` : `${least} or more and less than ${below}`;
  throw new ModelcError('input', `the optimizer ${optimizer} takes ${bounds} as ${option}, got ${value}`);
}

/** The new parameter `value`, rounded to the dtype of the old one. */
export const stored = ({ parameter }: OptimizerInputs, value: Tensor): Tensor => value.cast(parameter.dtype);

/** factor * old + (1 - factor) * value */
export const average = (old: Tensor, factor: number, value: Tensor): Tensor =>
  old.mul(factor).add(value.mul(1 - factor));

/** The parameter after weight decay that is no part of the gradient: p * (1 - rate * decay). */
export function decayed({ parameter, learningRate }: OptimizerInputs, decay: number): Tensor {
  const p = parameter.cast('f32');
  return decay === 0 ? p : p.mul(learningRate.mul(-decay).add(1));
}

/** The gradient of the loss plus decay/2 * |p|². */
function penalized({ parameter, gradient }: OptimizerInputs, decay: number): Tensor {
  return decay === 0 ? gradient : gradient.add(parameter.cast('f32').mul(decay));
}

/**
 * 1 - base^step, without the loss of digits that 1 - 0.999 has in f32: for small x the series of 1 - e^x.
 */
function oneMinusPower(base: number, step: Tensor): Tensor {
  if (base === 0) return scalar(1);
  const x = step.mul(Math.log(base));
  let series = scalar(1);
  for (let k = 8; k > 1; k--) series = series.mul(x).div(k).add(1);
  return where(x.gt(-0.5), series.mul(x).neg(), x.exp().neg().add(1));
}

const like = ({ shape }: Trained, initial = 0): OptimizerState => ({ shape, initial });

/** Options of AdamW: names and defaults are those of torch.optim.AdamW. */
export interface AdamWOptions {
  /** The factors by which gradients and their squares are averaged, from 0 to less than 1 ([0.9, 0.999]). */
  readonly betas?: readonly [number, number];
  /** What the root of the second moment is added to, so that no step is divided by 0 (1e-8). */
  readonly eps?: number;
  /** The share of a parameter that a step of rate 1 takes away, apart from the gradient (0.01). */
  readonly weight_decay?: number;
}

/**
 * Adam with decoupled weight decay (Loshchilov and Hutter 2019): torch.optim.AdamW. States: `exp_avg`, `exp_avg_sq`.
 * Throws ModelcError 'input' for values out of bounds.
 *
 *     const optimizer = AdamW({ betas: [0.9, 0.95], weight_decay: 0.1 });
 */
export function AdamW({ betas = [0.9, 0.999], eps = 1e-8, weight_decay = 0.01 }: AdamWOptions = {}): Optimizer {
  const [beta1, beta2] = betas;
  checkOption('AdamW', 'betas[0]', beta1, 0, 1);
  checkOption('AdamW', 'betas[1]', beta2, 0, 1);
  checkOption('AdamW', 'eps', eps);
  checkOption('AdamW', 'weight_decay', weight_decay);
  return {
    state: (parameter) => ({ exp_avg: like(parameter), exp_avg_sq: like(parameter) }),
    update(inputs) {
      const { gradient, states, learningRate, step } = inputs;
      const exp_avg = average(states.exp_avg, beta1, gradient);
      const exp_avg_sq = average(states.exp_avg_sq, beta2, gradient.square());
      const size = learningRate.div(oneMinusPower(beta1, step));
      const root = exp_avg_sq.sqrt().div(oneMinusPower(beta2, step).sqrt()).add(eps);
      const parameter = decayed(inputs, weight_decay).sub(size.mul(exp_avg).div(root));
      return { parameter: stored(inputs, parameter), states: { exp_avg, exp_avg_sq } };
    },
  };
}

/** Options of SGD: names and defaults are those of torch.optim.SGD. */
export interface SGDOptions {
  /** What the buffer of earlier gradients is multiplied by in each step; 0, the default: there is no buffer. */
  readonly momentum?: number;
  /** The share of a gradient that does not enter the buffer (0). */
  readonly dampening?: number;
  /** What parameters are multiplied by and added to their gradients (0). */
  readonly weight_decay?: number;
  /** Whether a step looks one gradient ahead (false). */
  readonly nesterov?: boolean;
}

/**
 * Gradient descent with momentum: torch.optim.SGD. State, with momentum: `momentum_buffer`. Throws ModelcError 'input'
 * for values out of bounds, and for `nesterov` without momentum or with dampening.
 */
export function SGD(options: SGDOptions = {}): Optimizer {
  const { momentum = 0, dampening = 0, weight_decay = 0, nesterov = false } = options;
  checkOption('SGD', 'momentum', momentum);
  checkOption('SGD', 'weight_decay', weight_decay);
  if (nesterov && (momentum <= 0 || dampening !== 0)) {
    throw new ModelcError('input', 'the optimizer SGD with nesterov takes a momentum above 0 and no dampening');
  }
  return {
    state: (parameter): Readonly<Record<string, OptimizerState>> =>
      momentum === 0 ? {} : { momentum_buffer: like(parameter) },
    update(inputs): OptimizerOutputs {
      const { states, learningRate, step } = inputs;
      const p = inputs.parameter.cast('f32');
      const gradient = penalized(inputs, weight_decay);
      if (momentum === 0) return { parameter: stored(inputs, p.sub(learningRate.mul(gradient))), states: {} };
      // The first gradient enters the buffer undamped.
      const share = dampening === 0 ? 1 : where(step.gt(1), 1 - dampening, 1);
      const momentum_buffer = states.momentum_buffer.mul(momentum).add(gradient.mul(share));
      const direction = nesterov ? gradient.add(momentum_buffer.mul(momentum)) : momentum_buffer;
      return { parameter: stored(inputs, p.sub(learningRate.mul(direction))), states: { momentum_buffer } };
    },
  };
}

/** Options of RMSprop: names and defaults are those of torch.optim.RMSprop. */
export interface RMSpropOptions {
  /** The factor by which squares of gradients are averaged (0.99). */
  readonly alpha?: number;
  /** What the root of that average is added to (1e-8). */
  readonly eps?: number;
  /** What parameters are multiplied by and added to their gradients (0). */
  readonly weight_decay?: number;
  /** What the buffer of earlier steps is multiplied by; 0, the default: there is no buffer. */
  readonly momentum?: number;
  /** Whether gradients are divided by their deviation in place of their root mean square (false). */
  readonly centered?: boolean;
}

/**
 * Gradients divided by the root of the average of their squares: torch.optim.RMSprop. States: `square_avg`, and
 * `momentum_buffer` and `grad_avg` where they are used. Throws ModelcError 'input' for values out of bounds.
 */
export function RMSprop(options: RMSpropOptions = {}): Optimizer {
  const { alpha = 0.99, eps = 1e-8, weight_decay = 0, momentum = 0, centered = false } = options;
  checkOption('RMSprop', 'alpha', alpha);
  checkOption('RMSprop', 'eps', eps);
  checkOption('RMSprop', 'weight_decay', weight_decay);
  checkOption('RMSprop', 'momentum', momentum);
  return {
    state: (parameter) => ({
      square_avg: like(parameter),
      ...(momentum > 0 && { momentum_buffer: like(parameter) }),
      ...(centered && { grad_avg: like(parameter) }),
    }),
    update(inputs) {
      const { states, learningRate } = inputs;
      const p = inputs.parameter.cast('f32');
      const gradient = penalized(inputs, weight_decay);
      const next: Record<string, Tensor> = {};
      next.square_avg = average(states.square_avg, alpha, gradient.square());
      let variance = next.square_avg;
      if (centered) {
        next.grad_avg = average(states.grad_avg, alpha, gradient);
        variance = variance.sub(next.grad_avg.square());
      }
      let direction = gradient.div(variance.sqrt().add(eps));
      if (momentum > 0) {
        direction = states.momentum_buffer.mul(momentum).add(direction);
        next.momentum_buffer = direction;
      }
      return { parameter: stored(inputs, p.sub(learningRate.mul(direction))), states: next };
    },
  };
}

/** Options of Adagrad: names and defaults are those of torch.optim.Adagrad. */
export interface AdagradOptions {
  /** Step t has the learning rate divided by 1 + (t - 1) * lr_decay (0). */
  readonly lr_decay?: number;
  /** What parameters are multiplied by and added to their gradients (0). */
  readonly weight_decay?: number;
  /** What the sum of squares begins with (0). */
  readonly initial_accumulator_value?: number;
  /** What the root of the sum is added to (1e-10). */
  readonly eps?: number;
}

/**
 * Gradients divided by the root of the sum of all their squares (Duchi et al. 2011): torch.optim.Adagrad. State: `sum`.
 * Throws ModelcError 'input' for values out of bounds.
 */
export function Adagrad(options: AdagradOptions = {}): Optimizer {
  const { lr_decay = 0, weight_decay = 0, initial_accumulator_value = 0, eps = 1e-10 } = options;
  checkOption('Adagrad', 'lr_decay', lr_decay);
  checkOption('Adagrad', 'weight_decay', weight_decay);
  checkOption('Adagrad', 'initial_accumulator_value', initial_accumulator_value);
  checkOption('Adagrad', 'eps', eps);
  return {
    state: (parameter) => ({ sum: like(parameter, initial_accumulator_value) }),
    update(inputs) {
      const { states, learningRate, step } = inputs;
      const gradient = penalized(inputs, weight_decay);
      const sum = states.sum.add(gradient.square());
      const rate = lr_decay === 0 ? learningRate : learningRate.div(step.add(-1).mul(lr_decay).add(1));
      const parameter = inputs.parameter.cast('f32').sub(rate.mul(gradient).div(sum.sqrt().add(eps)));
      return { parameter: stored(inputs, parameter), states: { sum } };
    },
  };
}

/** Options of Lion. */
export interface LionOptions {
  /**
   * The factors by which the gradient and the momentum are mixed: in the step, and in the momentum that is kept ([0.9,
   * 0.99]).
   */
  readonly betas?: readonly [number, number];
  /** The share of a parameter that a step of rate 1 takes away, apart from the gradient (0). */
  readonly weight_decay?: number;
}

/**
 * The sign of an interpolated momentum (Chen et al. 2023), as bitsandbytes has it. State: `exp_avg`. Throws ModelcError
 * 'input' for values out of bounds.
 */
export function Lion({ betas = [0.9, 0.99], weight_decay = 0 }: LionOptions = {}): Optimizer {
  const [beta1, beta2] = betas;
  checkOption('Lion', 'betas[0]', beta1, 0, 1);
  checkOption('Lion', 'betas[1]', beta2, 0, 1);
  checkOption('Lion', 'weight_decay', weight_decay);
  return {
    state: (parameter) => ({ exp_avg: like(parameter) }),
    update(inputs) {
      const { gradient, states, learningRate } = inputs;
      const direction = average(states.exp_avg, beta1, gradient);
      const zero = full(direction.shape, 0);
      const sign = where(direction.gt(0), 1, where(direction.lt(0), -1, zero));
      const parameter = decayed(inputs, weight_decay).sub(learningRate.mul(sign));
      return { parameter: stored(inputs, parameter), states: { exp_avg: average(states.exp_avg, beta2, gradient) } };
    },
  };
}

/** Parameters that are updated alike. */
export interface ParameterGroup {
  /** Whether a parameter of this name belongs to the group. */
  includes(name: string): boolean;
  /** What updates them. */
  readonly optimizer: Optimizer;
  /** What the learning rate is multiplied by in this group (1). */
  readonly learning_rate_scale?: number;
}

/** Each parameter is updated as the first group that includes it says. */
export function parameterGroups(groups: readonly ParameterGroup[]): Optimizer {
  const groupOf = (name: string): ParameterGroup => {
    const group = groups.find((g) => g.includes(name));
    if (!group) throw new ModelcError('input', `no group of parameters includes ${name}: add one that does`);
    return group;
  };
  return {
    state: (parameter) => groupOf(parameter.name).optimizer.state(parameter),
    update(inputs) {
      const { optimizer, learning_rate_scale: scale = 1 } = groupOf(inputs.name);
      const learningRate = scale === 1 ? inputs.learningRate : inputs.learningRate.mul(scale);
      return optimizer.update({ ...inputs, learningRate });
    },
  };
}
