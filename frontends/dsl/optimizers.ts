// Optimizers as functions of the DSL: what an optimizer keeps per parameter, and the new values that one step gives. They
// are traced into the step's graph, so an update is fused like any other arithmetic. Formulas, defaults and names of the
// states are those of PyTorch (AdamW, SGD, RMSprop, Adagrad), of bitsandbytes (Lion), and of the files adafactor.ts and
// muon.ts. All arithmetic and all states are f32; the new parameter is rounded to the parameter's own dtype at the end.
import type { Dim } from '../../ir/dim.ts';
import { ModelcError } from '../../ir/error.ts';
import { full, scalar, type Tensor, where } from './tensor.ts';

/** The parameter that an optimizer is asked about. */
export interface Trained {
  readonly name: string;
  readonly shape: readonly Dim[];
}

/** f32 values that an optimizer keeps from step to step, all `initial` before the first. */
export interface OptimizerState {
  readonly shape: readonly Dim[];
  readonly initial: number;
}

export interface OptimizerInputs {
  readonly name: string;
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

export interface OptimizerOutputs {
  readonly parameter: Tensor;
  readonly states: Readonly<Record<string, Tensor>>;
}

export interface Optimizer {
  /** What is kept for a parameter, by name. Throws ModelcError 'input' for a shape that the optimizer does not serve. */
  state(parameter: Trained): Readonly<Record<string, OptimizerState>>;
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

export interface AdamWOptions {
  readonly betas?: readonly [number, number];
  readonly eps?: number;
  readonly weight_decay?: number;
}

/** Decoupled weight decay (Loshchilov and Hutter 2019). */
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

export interface SGDOptions {
  readonly momentum?: number;
  readonly dampening?: number;
  readonly weight_decay?: number;
  readonly nesterov?: boolean;
}

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

export interface RMSpropOptions {
  readonly alpha?: number;
  readonly eps?: number;
  readonly weight_decay?: number;
  readonly momentum?: number;
  readonly centered?: boolean;
}

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

export interface AdagradOptions {
  readonly lr_decay?: number;
  readonly weight_decay?: number;
  readonly initial_accumulator_value?: number;
  readonly eps?: number;
}

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

export interface LionOptions {
  readonly betas?: readonly [number, number];
  readonly weight_decay?: number;
}

/** The sign of an interpolated momentum (Chen et al. 2023). */
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

export interface ParameterGroup {
  /** Whether a parameter of this name belongs to the group. */
  includes(name: string): boolean;
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
