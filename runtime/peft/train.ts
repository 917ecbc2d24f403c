// Adapters in training: the task of a model with its active adapters applied, and the parameters that are trained. The
// rewrite is done where the task is traced, so gradients, optimizers and checkpoints see the adapters' parameters as they
// see any others.
import { dropout, Module, Parameter, type SequenceTask, Tensor, type Tensors } from '../../frontends/dsl/index.ts';
import type { Constant } from '../../frontends/dsl/module.ts';
import { ModelcError } from '../../ir/error.ts';
import { type Graph, topologicalOrder } from '../../ir/graph.ts';
import { isOp } from '../../ir/node.ts';
import { adapt, type LoraOptions } from '../../passes/lora.ts';
import type { HostTensor } from '../tensors/host-tensor.ts';
import { overlaidWeights, type WeightStore } from '../tensors/weight-store.ts';
import type { Adapters } from './adapters.ts';

export interface AdaptedTask {
  readonly task: SequenceTask;
  /** The weights of the base and those of the adapters. */
  readonly weights: WeightStore;
  readonly isTrained: (name: string) => boolean;
}

/** A model beside parameters of its adapters, which have names of their own. */
class AdaptedModule extends Module {
  readonly #model: Module;
  readonly #own: ReadonlyMap<string, Parameter>;

  constructor(model: Module, own: ReadonlyMap<string, Parameter>) {
    super();
    this.#model = model;
    this.#own = own;
  }

  override modules(prefix?: string): Map<string, Module> {
    return this.#model.modules(prefix);
  }

  override named(): Map<string, Parameter | Constant> {
    return new Map([...this.#model.named(), ...this.#own]);
  }
}

/**
 * A task with adapters applied, as they are now. `weights` are the base's. Throws ModelcError 'input' where no active
 * adapter is trainable.
 */
export function adaptTask(task: SequenceTask, weights: WeightStore, adapters: Adapters): AdaptedTask {
  if (adapters.merged.length > 0) {
    throw new ModelcError('input', 'adapters that are merged cannot be trained; call unmerge_adapter() first');
  }
  const trained = new Set(adapters.trainable.map((t) => t.param));
  if (trained.size === 0) {
    throw new ModelcError(
      'input',
      'no active adapter is trainable; load it with is_trainable: true or make it so with set_adapter()',
    );
  }
  const { tensors, lora } = adapters.applied();
  const own = new Map<string, Parameter>();
  for (const [name, { shape }] of tensors) {
    if (!adapters.base.modules.parameters.has(name)) own.set(name, new Parameter(shape));
  }
  return {
    task: {
      ...task,
      model: new AdaptedModule(task.model, own),
      outputs: (inputs) => adaptOutputs(task.outputs(inputs), lora, own),
    },
    weights: overlaidWeights(weights, tensors),
    isTrained: (name) => trained.has(name),
  };
}

/** Outputs of a task, computed with adapters whose tensors are `own`. */
function adaptOutputs(outputs: Tensors, lora: LoraOptions, own: ReadonlyMap<string, Parameter>): Tensors {
  const results = new Map(Object.entries(outputs).map(([name, { node }]) => [name, node]));
  const params = topologicalOrder([...results.values()]).filter((n) => isOp(n, 'param'));
  const graph: Graph = { name: 'task', params, results, updates: new Map() };
  const adapted = adapt(graph, {
    ...lora,
    param: (name) => own.get(name)!.stored.node,
    drop: (x, rate) => dropout(new Tensor(x), rate).node,
  });
  return Object.fromEntries([...adapted.results].map(([name, node]) => [name, new Tensor(node)]));
}

/** Gives adapters the values that training has made: f32, by param. */
export function adoptValues(adapters: Adapters, values: ReadonlyMap<string, HostTensor>): void {
  for (const { param } of adapters.trainable) {
    const value = values.get(param);
    if (value) adapters.values.set(param, value);
  }
  adapters.version++;
}
