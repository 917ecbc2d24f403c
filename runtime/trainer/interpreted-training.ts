// A training program in the reference interpreter: slow, and right by definition.
import type { TrainEntry, Training } from '../../frontends/dsl/index.ts';
import { dimEval } from '../../ir/dim.ts';
import { ModelcError } from '../../ir/error.ts';
import { evaluate } from '../../ir/eval.ts';
import { expandGradients } from '../../ir/gradients.ts';
import type { Graph } from '../../ir/graph.ts';
import { type NdArray, ndarray } from '../../ir/ndarray.ts';
import type { Node } from '../../ir/node.ts';
import { computeIn } from '../../passes/precision.ts';
import { type Checkpointing, remat } from '../../passes/remat.ts';
import { fromNdArray, type HostTensor, toNdArray } from '../tensors/host-tensor.ts';
import type { WeightStore } from '../tensors/weight-store.ts';
import type { TrainingEngine } from './training-session.ts';

const shapeOf = (param: Node<'param'>): number[] => param.type.shape.map((d) => dimEval(d, {}));

export class InterpretedTraining implements TrainingEngine {
  private constructor(
    private readonly entries: ReadonlyMap<string, Graph>,
    /** Weights, constants and states by name. */
    private readonly arrays: Map<string, NdArray>,
    readonly states: readonly string[],
  ) {}

  static async open(
    training: Training,
    weights: WeightStore,
    checkpointing: Checkpointing,
  ): Promise<InterpretedTraining> {
    const [anew, compute] = [remat(checkpointing), computeIn(training.compute)];
    const entries = new Map<string, Graph>();
    const arrays = new Map<string, NdArray>();
    const states = new Set<string>();
    for (const [entry, traced] of Object.entries(training.entries)) {
      if (!traced) continue;
      entries.set(entry, compute.run(anew.run(expandGradients(traced.graph))));
      for (const param of traced.graph.params) {
        const { name, kind, dtype } = param.attrs;
        if (kind === 'state') states.add(name);
        if (kind === 'input' || arrays.has(name)) continue;
        const shape = shapeOf(param);
        if (kind === 'weight') arrays.set(name, await weights.array(name, dtype, shape));
        else arrays.set(name, ndarray(dtype, shape, kind === 'constant' ? traced.constants.get(name) : undefined));
      }
    }
    return new InterpretedTraining(entries, arrays, [...states]);
  }

  async run(entry: TrainEntry, inputs: Readonly<Record<string, HostTensor>>): Promise<Record<string, HostTensor>> {
    const graph = this.entries.get(entry);
    if (!graph) {
      const known = [...this.entries.keys()].join(', ');
      throw new ModelcError('input', `the training program has no entry '${entry}'; it has ${known}`);
    }
    const params = new Map(this.arrays);
    for (const param of graph.params) {
      if (param.attrs.kind !== 'input') continue;
      const tensor = inputs[param.attrs.name];
      if (!tensor) throw new ModelcError('input', `entry ${entry} of a training program needs ${param.attrs.name}`);
      params.set(param.attrs.name, toNdArray(tensor));
    }
    const { results, updates } = evaluate(graph, { params });
    for (const [name, value] of updates) this.arrays.set(name, value);
    return Object.fromEntries([...results].map(([name, value]) => [name, fromNdArray(value)]));
  }

  async read(state: string): Promise<HostTensor> {
    return fromNdArray(this.state(state));
  }

  write(state: string, value: HostTensor): void {
    const { dtype, shape } = this.state(state);
    if (value.dtype !== dtype || value.shape.length !== shape.length || value.shape.some((d, i) => d !== shape[i])) {
      throw new ModelcError(
        'input',
        `the state ${state} is ${dtype} [${shape}], but the value is ${value.dtype} [${value.shape}]`,
      );
    }
    this.arrays.set(state, toNdArray(value));
  }

  private state(name: string): NdArray {
    const array = this.states.includes(name) ? this.arrays.get(name) : undefined;
    if (array) return array;
    throw new ModelcError('input', `the training program has no state '${name}'`);
  }

  dispose(): void {
    this.arrays.clear();
  }
}
