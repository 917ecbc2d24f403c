// Mixtures of experts: a router gives every position weights over the experts, all but a few of which are 0. Every expert
// reads every position, and the weights choose among the results.
import { arange, Linear, Module, sigmoid, type Tensor, where } from '../../frontends/dsl/index.ts';

export interface Expert {
  forward(x: Tensor): Tensor;
}

export interface RoutingConfig {
  readonly hiddenSize: number;
  readonly experts: number;
  readonly expertsPerToken: number;
}

/** Which elements are among the `count` largest along the last axis, of equals the first ones. */
export function amongLargest(x: Tensor, count: number): Tensor {
  const size = x.shape[x.rank - 1];
  return x.topK(count).unsqueeze(-1).eq(arange(size)).any(-2);
}

/** `weights`, scaled so that they sum to 1 along the last axis. */
export const normalised = (weights: Tensor): Tensor => weights.div(weights.sum(-1, true));

/** Softmax over all experts, of which the largest weights count. */
export class SoftmaxRouter extends Linear {
  constructor(
    readonly config: RoutingConfig,
    /** Whether those that count sum to 1. */
    readonly isNormalised: boolean,
  ) {
    super(config.hiddenSize, config.experts, { bias: false });
  }

  /** x [.., hidden] to weights [.., experts]. */
  override forward(x: Tensor): Tensor {
    const probabilities = super.forward(x).softmax();
    const chosen = where(amongLargest(probabilities, this.config.expertsPerToken), probabilities, 0);
    return this.isNormalised ? normalised(chosen) : chosen;
  }
}

/** The sum of what the experts make of x [.., hidden], weighted by [.., experts]. */
export function mixExperts(x: Tensor, weights: Tensor, experts: readonly Expert[]): Tensor {
  return experts
    .map((expert, i) => expert.forward(x).mul(weights.slice(-1, i, i + 1)))
    .reduce((sum, part) => sum.add(part));
}

/** Experts behind a router, and maybe one that all positions share, weighted by a gate of its own. */
export class MixtureOfExperts extends Module {
  readonly gate: SoftmaxRouter;
  readonly experts: (Expert & Module)[];
  readonly shared_expert: (Expert & Module) | undefined;
  readonly shared_expert_gate: Linear | undefined;

  constructor(gate: SoftmaxRouter, experts: readonly (Expert & Module)[], shared?: Expert & Module) {
    super();
    this.gate = gate;
    this.experts = [...experts];
    this.shared_expert = shared;
    this.shared_expert_gate = shared && new Linear(gate.config.hiddenSize, 1, { bias: false });
  }

  forward(x: Tensor): Tensor {
    const mixed = mixExperts(x, this.gate.forward(x), this.experts);
    if (!this.shared_expert || !this.shared_expert_gate) return mixed;
    const weight = sigmoid(this.shared_expert_gate.forward(x));
    return mixed.add(this.shared_expert.forward(x).mul(weight));
  }
}
