// A model that is made of a config alone: a checkpoint without files, and weights that are drawn as transformers draws them.
import { totalmem } from 'node:os';
import { drawValues, type Module, Parameter, withParameterLimit } from '../../frontends/dsl/index.ts';
import type { Checkpoint, Fitted } from '../../frontends/huggingface/index.ts';
import { ModelcError } from '../../ir/error.ts';
import { sizeOf } from '../../ir/ndarray.ts';
import { Generator } from '../data/generator.ts';
import { warnOnce } from '../generation/warnings.ts';
import type { HostTensor } from '../tensors/host-tensor.ts';
import { checkpointWeights, memoryWeights, overlaidWeights, type WeightStore } from '../tensors/weight-store.ts';

/** What messages call a config that comes from no file. */
export const newConfig = 'the config';

export const newCheckpoint = (config: Readonly<Record<string, unknown>>): Checkpoint => ({
  dir: 'the new model',
  config,
  generationConfig: {},
  tensors: new Map(),
});

/** Parameters that a config alone may ask for. */
const parameterLimit = 2 ** 20;

/** What `describe` makes of a config that has no weights beside it, which could ask for anything. */
export const describeNew = <T>(describe: () => T): T =>
  withParameterLimit(
    parameterLimit,
    () =>
      new ModelcError('checkpoint', `${newConfig} asks for more than ${parameterLimit} weights; use smaller numbers`),
    describe,
  );

/** The first weights of a model, f32. `range`: the initializer_range of its config. */
export const newWeights = (model: Module, range: number, seed?: number): WeightStore =>
  memoryWeights(drawn(parametersOf(model), range, seed));

/** The weights that a checkpoint has for a model, and those that are made new. `range`: as of newWeights. */
export function fittedWeights({ checkpoint, fresh, notes }: Fitted, range: number, seed?: number): WeightStore {
  for (const note of notes) warnOnce(note);
  const stored = checkpointWeights(checkpoint);
  return fresh.size === 0 ? stored : overlaidWeights(stored, drawn(fresh, range, seed));
}

const parametersOf = (model: Module): Map<string, Parameter> =>
  new Map([...model.named()].flatMap(([path, field]) => (field instanceof Parameter ? [[path, field]] : [])));

/** First values, f32, drawn in the order of the parameters. Throws ModelcError 'unsupported' for more than memory holds. */
function drawn(parameters: ReadonlyMap<string, Parameter>, range: number, seed = 42): Map<string, HostTensor> {
  const bytes = [...parameters.values()].reduce((sum, { shape }) => sum + 4 * sizeOf(shape), 0);
  const memory = totalmem();
  if (bytes > memory) {
    const gigabytes = (n: number): string => `${(n / 2 ** 30).toPrecision(3)} GiB`;
    const largest = [...parameters].sort((a, b) => sizeOf(b[1].shape) - sizeOf(a[1].shape))[0];
    throw new ModelcError(
      'unsupported',
      `new weights of ${gigabytes(bytes)} (${largest[0]} has the shape [${largest[1].shape}]) do not fit into the ` +
        `memory of this machine, ${gigabytes(memory)}; use smaller sizes in the config`,
    );
  }
  const random = new Generator(seed);
  const values = drawValues(parameters, () => random.uniform(), range);
  return new Map([...values].map(([name, data]) => [name, { dtype: 'f32', shape: parameters.get(name)!.shape, data }]));
}
