// Muon (Jordan et al. 2024) as torch.optim.Muon defines it: the momentum of a matrix, made nearly orthogonal by a few steps
// of a Newton-Schulz iteration X ← a X + (b A + c A²) X with A = X Xᵀ. The iteration is computed in f32, where torch rounds
// to bf16 after each product: the results agree to the precision of bf16.
import { dimConst } from '../../ir/dim.ts';
import { ModelcError } from '../../ir/error.ts';
import { average, checkOption, decayed, type Optimizer, stored, type Trained } from './optimizers.ts';
import type { Tensor } from './tensor.ts';

/** Options of Muon: names and defaults are those of torch.optim.Muon. */
export interface MuonOptions {
  /** The share of a parameter that a step of rate 1 takes away, apart from the gradient (0.1). */
  readonly weight_decay?: number;
  /** The factor by which gradients are averaged (0.95). */
  readonly momentum?: number;
  /** Whether a step looks one gradient ahead (true). */
  readonly nesterov?: boolean;
  /** The coefficients a, b and c of the iteration X ← a X + (b A + c A²) X with A = X Xᵀ ([3.4445, -4.775, 2.0315]). */
  readonly ns_coefficients?: readonly [number, number, number];
  /** The least norm that a matrix is divided by before the iteration (1e-7). */
  readonly eps?: number;
  /** How often the iteration is made, less than 100 (5). */
  readonly ns_steps?: number;
  /** How the shape scales the rate: √max(1, rows/columns), or so that the update has the size that AdamW's has. */
  readonly adjust_lr_fn?: 'original' | 'match_rms_adamw' | null;
}

function sizesOf({ name, shape }: Trained): [number, number] {
  const [rows, columns] = shape.map(dimConst);
  if (shape.length === 2 && rows && columns) return [rows, columns];
  throw new ModelcError(
    'input',
    `the optimizer Muon serves matrices, and ${name} has ${shape.length} axes: put it into a group with another optimizer`,
  );
}

/**
 * Muon (Jordan et al. 2024) as torch.optim.Muon has it, for matrices: its state is `momentum_buffer`. Throws
 * ModelcError 'input' for values out of bounds and, when it is asked for its state, for a parameter that is no matrix:
 * put it into a group of parameterGroups with another optimizer.
 */
export function Muon(options: MuonOptions = {}): Optimizer {
  const { weight_decay = 0.1, momentum = 0.95, nesterov = true, eps = 1e-7, ns_steps = 5 } = options;
  const [a, b, c] = options.ns_coefficients ?? [3.4445, -4.775, 2.0315];
  checkOption('Muon', 'weight_decay', weight_decay);
  checkOption('Muon', 'momentum', momentum);
  checkOption('Muon', 'ns_steps', ns_steps, 0, 100);

  const orthogonal = (matrix: Tensor, isTall: boolean): Tensor => {
    const wide = isTall ? matrix.transpose(0, 1) : matrix;
    let x = wide.div(wide.square().sum().sqrt().maximum(eps));
    for (let i = 0; i < ns_steps; i++) {
      const gram = x.matmul(x.transpose(0, 1));
      x = x.mul(a).add(gram.mul(b).add(gram.matmul(gram).mul(c)).matmul(x));
    }
    return isTall ? x.transpose(0, 1) : x;
  };

  return {
    state(parameter) {
      sizesOf(parameter);
      return { momentum_buffer: { shape: parameter.shape, initial: 0 } };
    },
    update(inputs) {
      const { name, parameter, gradient, states, learningRate } = inputs;
      const [rows, columns] = sizesOf({ name, shape: parameter.shape });
      const momentum_buffer = average(states.momentum_buffer, momentum, gradient);
      // torch's lerp(gradient, buffer, momentum)
      const direction = nesterov ? gradient.mul(1 - momentum).add(momentum_buffer.mul(momentum)) : momentum_buffer;
      const ratio =
        options.adjust_lr_fn === 'match_rms_adamw'
          ? 0.2 * Math.sqrt(Math.max(rows, columns))
          : Math.sqrt(Math.max(1, rows / columns));
      const change = learningRate.mul(ratio).mul(orthogonal(direction, rows > columns));
      return { parameter: stored(inputs, decayed(inputs, weight_decay).sub(change)), states: { momentum_buffer } };
    },
  };
}
