// Feed-forward parts of layers.
import { type ActivationName, activation, Linear, Module, type Tensor } from '../../frontends/dsl/index.ts';

export interface MLPConfig {
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly activation: ActivationName;
  readonly mlpBias: boolean;
}

/** The names of the projections of a gated MLP. */
export type GatedNames = readonly [gate: string, up: string, down: string];
const gatedNames: GatedNames = ['gate_proj', 'up_proj', 'down_proj'];

/** down(act(gate(x)) * up(x)) */
export class GatedMLP extends Module {
  readonly #gate: Linear;
  readonly #up: Linear;
  readonly #down: Linear;
  readonly #activation: ActivationName;

  constructor(config: MLPConfig, [gate, up, down]: GatedNames = gatedNames) {
    super();
    const { hiddenSize, intermediateSize, mlpBias: bias } = config;
    this.#activation = config.activation;
    this.#gate = new Linear(hiddenSize, intermediateSize, { bias });
    this.#up = new Linear(hiddenSize, intermediateSize, { bias });
    this.#down = new Linear(intermediateSize, hiddenSize, { bias });
    Object.assign(this, { [gate]: this.#gate, [up]: this.#up, [down]: this.#down });
  }

  forward(x: Tensor): Tensor {
    const gate = activation(this.#activation)(this.#gate.forward(x));
    return this.#down.forward(gate.mul(this.#up.forward(x)));
  }
}

/** down(act(gate) * up), [gate | up] being one projection. */
export class FusedGatedMLP extends Module {
  readonly gate_up_proj: Linear;
  readonly down_proj: Linear;

  constructor(readonly config: MLPConfig) {
    super();
    const { hiddenSize, intermediateSize, mlpBias: bias } = config;
    this.gate_up_proj = new Linear(hiddenSize, 2 * intermediateSize, { bias });
    this.down_proj = new Linear(intermediateSize, hiddenSize, { bias });
  }

  forward(x: Tensor): Tensor {
    const { intermediateSize: size, activation: name } = this.config;
    const [gate, up] = this.gate_up_proj.forward(x).split([size, size], -1);
    return this.down_proj.forward(activation(name)(gate).mul(up));
  }
}

/** The names of the two projections of an MLP. */
export type MLPNames = readonly [first: string, second: string];

/** second(act(first(x))), under the names that a family has for the two. */
export class MLP extends Module {
  readonly #first: Linear;
  readonly #second: Linear;
  readonly #activation: ActivationName;

  constructor({ hiddenSize, intermediateSize, mlpBias: bias, activation }: MLPConfig, [first, second]: MLPNames) {
    super();
    this.#activation = activation;
    this.#first = new Linear(hiddenSize, intermediateSize, { bias });
    this.#second = new Linear(intermediateSize, hiddenSize, { bias });
    Object.assign(this, { [first]: this.#first, [second]: this.#second });
  }

  forward(x: Tensor): Tensor {
    return this.#second.forward(activation(this.#activation)(this.#first.forward(x)));
  }
}
