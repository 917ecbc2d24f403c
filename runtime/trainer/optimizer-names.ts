// The names that `optim` takes, and what they stand for: an optimizer of the DSL with the options that TrainingArguments
// gives it, in two groups of parameters, one of which is decayed.
import {
  Adafactor,
  Adagrad,
  AdamW,
  checkOption,
  Lion,
  Muon,
  type Optimizer,
  parameterGroups,
  RMSprop,
  SGD,
} from '../../frontends/dsl/index.ts';
import { ModelcError } from '../../ir/error.ts';

/** What the optimizers read of TrainingArguments. */
export interface OptimizerArguments {
  readonly optim: OptimizerName;
  /** "name=value,name=value" */
  readonly optim_args: string | null;
  readonly weight_decay: number;
  readonly adam_beta1: number;
  readonly adam_beta2: number;
  readonly adam_epsilon: number;
}

/** Reads options out of optim_args; what is left at the end was not known. */
class Options {
  readonly #given = new Map<string, string>();
  readonly #optim: string;

  constructor({ optim, optim_args }: OptimizerArguments) {
    this.#optim = optim;
    for (const part of (optim_args ?? '').replaceAll(' ', '').split(',').filter(Boolean)) {
      const [name, value, ...more] = part.split('=');
      if (!name || value === undefined || more.length > 0) {
        throw new ModelcError('input', `optim_args must read "name=value,name=value", but has "${part}"`);
      }
      this.#given.set(name, value);
    }
  }
  #take(name: string): string | undefined {
    const value = this.#given.get(name);
    this.#given.delete(name);
    return value;
  }
  number(name: string, value: number): number {
    const text = this.#take(name);
    if (text === undefined) return value;
    const given = Number(text);
    if (text === '' || !Number.isFinite(given)) {
      throw new ModelcError('input', `optim_args gives '${text}' as ${name}, which takes a number`);
    }
    return given;
  }
  flag(name: string, value: boolean): boolean {
    const text = this.#take(name)?.toLowerCase();
    if (text === undefined) return value;
    if (['true', '1', 'yes'].includes(text)) return true;
    if (['false', '0', 'no'].includes(text)) return false;
    throw new ModelcError('input', `optim_args gives '${text}' as ${name}, which takes true or false`);
  }
  choice<C extends string>(name: string, choices: readonly C[]): C | undefined {
    const text = this.#take(name);
    const found = choices.find((c) => c === text);
    if (text !== undefined && found === undefined) {
      throw new ModelcError('input', `optim_args gives '${text}' as ${name}, which takes ${choices.join(' or ')}`);
    }
    return found;
  }
  /** Throws for what nobody asked for. */
  end(): void {
    for (const name of this.#given.keys()) {
      throw new ModelcError('input', `optim_args names ${name}, which the optimizer ${this.#optim} does not have`);
    }
  }
}

/** An optimizer whose weight decay is still open. */
type Make = (decay: number) => Optimizer;
type Row = (options: Options, args: OptimizerArguments) => Make;

const adamW: Row = (_, { adam_beta1, adam_beta2, adam_epsilon }) => {
  return (weight_decay) => AdamW({ betas: [adam_beta1, adam_beta2], eps: adam_epsilon, weight_decay });
};
const lion: Row = (_, { adam_beta1, adam_beta2 }) => {
  return (weight_decay) => Lion({ betas: [adam_beta1, adam_beta2], weight_decay });
};

const rows = {
  adamw_torch: adamW,
  adamw_torch_fused: adamW,
  paged_adamw_32bit: adamW,
  adafactor: () => (weight_decay) => Adafactor({ scale_parameter: false, relative_step: false, weight_decay }),
  sgd: (options) => {
    const momentum = options.number('momentum', 0);
    const dampening = options.number('dampening', 0);
    const nesterov = options.flag('nesterov', false);
    return (weight_decay) => SGD({ momentum, dampening, nesterov, weight_decay });
  },
  adagrad: (options) => {
    const lr_decay = options.number('lr_decay', 0);
    const eps = options.number('eps', 1e-10);
    return (weight_decay) => Adagrad({ lr_decay, eps, weight_decay });
  },
  rmsprop: (options) => {
    const momentum = options.number('momentum', 0);
    const alpha = options.number('alpha', 0.99);
    const eps = options.number('eps', 1e-8);
    const centered = options.flag('centered', false);
    return (weight_decay) => RMSprop({ momentum, alpha, eps, centered, weight_decay });
  },
  lion_32bit: lion,
  paged_lion_32bit: lion,
  muon: (options, args) => {
    const momentum = options.number('momentum', 0.95);
    const nesterov = options.flag('nesterov', true);
    const ns_steps = options.number('ns_steps', 5);
    const eps = options.number('eps', 1e-7);
    const adjust_lr_fn = options.choice('adjust_lr_fn', ['original', 'match_rms_adamw']) ?? 'match_rms_adamw';
    return (weight_decay) => {
      const matrices = Muon({ momentum, nesterov, ns_steps, eps, adjust_lr_fn, weight_decay });
      const others = adamW(options, args)(weight_decay);
      return bySize(matrices, others);
    };
  },
} satisfies Record<string, Row>;

export type OptimizerName = keyof typeof rows;
export const optimizerNames = Object.keys(rows) as OptimizerName[];

/** Names that transformers knows beside ours. */
export const refusedOptimizers = [
  'adamw_torch_xla',
  'adamw_torch_npu_fused',
  'adamw_apex_fused',
  'adamw_anyprecision',
  'adamw_torch_4bit',
  'adamw_torch_8bit',
  'ademamix',
  'ademamix_8bit',
  'paged_ademamix_32bit',
  'paged_ademamix_8bit',
  'adamw_bnb_8bit',
  'adamw_8bit',
  'paged_adamw_8bit',
  'lion_8bit',
  'paged_lion_8bit',
  'rmsprop_bnb',
  'rmsprop_bnb_8bit',
  'rmsprop_bnb_32bit',
  'galore_adamw',
  'galore_adamw_8bit',
  'galore_adafactor',
  'galore_adamw_layerwise',
  'galore_adamw_8bit_layerwise',
  'galore_adafactor_layerwise',
  'lomo',
  'adalomo',
  'grokadamw',
  'schedule_free_radam',
  'schedule_free_adamw',
  'schedule_free_sgd',
  'apollo_adamw',
  'apollo_adamw_layerwise',
  'stable_adamw',
] as const;

/** Muon serves hidden matrices; embeddings, the output layer, vectors and scalars take the other optimizer. */
function bySize(matrices: Optimizer, others: Optimizer): Optimizer {
  const isEmbedding = (name: string): boolean => /embed|wte|wpe|lm_head|classifier/i.test(name);
  const of = (name: string, rank: number): Optimizer => (rank === 2 && !isEmbedding(name) ? matrices : others);
  return {
    state: (parameter) => of(parameter.name, parameter.shape.length).state(parameter),
    update: (inputs) => of(inputs.name, inputs.parameter.rank).update(inputs),
  };
}

/** Names of parameters that are not decayed, as transformers writes them. */
const undecayed = /bias|layernorm|rmsnorm|(?:^|\.)norm(?:$|\.)|_norm(?:$|\.)/i;

/** Whether the weights of a parameter are decayed. `norms`: the paths of all LayerNorm modules. */
export function decays(name: string, norms: ReadonlySet<string>): boolean {
  return !undecayed.test(name) && !norms.has(name.slice(0, Math.max(0, name.lastIndexOf('.'))));
}

/**
 * The optimizer that the arguments name. `decayed` says whether weight decay applies to a parameter. Throws ModelcError
 * 'input' for optim_args that the optimizer does not have.
 */
export function createOptimizer(args: OptimizerArguments, decayed: (name: string) => boolean): Optimizer {
  checkOption(args.optim, 'weight_decay', args.weight_decay);
  const options = new Options(args);
  const own = options.number('weight_decay', 0);
  const make = rows[args.optim](options, args);
  options.end();
  // A group of torch's has the weight decay that the Trainer gives it, so that optim_args' own is not looked at.
  checkOption(args.optim, 'weight_decay', own);
  return parameterGroups([
    { includes: decayed, optimizer: make(args.weight_decay) },
    { includes: () => true, optimizer: make(0) },
  ]);
}
