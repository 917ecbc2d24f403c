// The programs of every model that tests run, for one target: the example and the golden cases, decoders generating and
// scoring with their weights in several types, encoders with their heads, and both training; the optimizers; and models of
// real sizes. They are compiled from configs and shapes alone, so what compiles them for a device needs no weights.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { checkpoint as outline } from '../../bench/checkpoint.ts';
import { type ShapeName, shapeNames } from '../../bench/shapes.ts';
import {
  Adafactor,
  Adagrad,
  AdamW,
  type CausalEntry,
  causalEntries,
  Lion,
  Muon,
  RMSprop,
  type SequenceTask,
  SGD,
  type TrainStepOptions,
  traceTraining,
} from '../../frontends/dsl/index.ts';
import { type Checkpoint, fittedModel, openCheckpoint, supportedTypes, type TaskName, weightResolver } from '../../frontends/huggingface/index.ts'; // biome-ignore format: one row
import type { DType } from '../../ir/dtype.ts';
import type { Program } from '../../ir/program.ts';
import type { Target } from '../../ir/target.ts';
import { compile } from '../../runtime/compiler/compile.ts';
import { devices } from '../../runtime/execution/devices.ts';
import type { LoadOptions } from '../../runtime/models/load-options.ts';
import { fitting, modelOf } from '../../runtime/models/open.ts';
import { material, readJson } from './golden.ts';
import { smallTask } from './training-model.ts';

/** A program, when it is asked for, and what it is of. */
export interface NamedProgram {
  readonly from: string;
  program(target: Target): Program;
}

const example = fileURLToPath(new URL('../../examples/tiny-llama', import.meta.url));
const golden = join(material, 'hf-golden');
/** Kinds of golden cases whose models read whole sequences. */
const tasks: Readonly<Record<string, TaskName>> = {
  mlm: 'masked-lm',
  seqcls: 'sequence-classification',
  tokcls: 'token-classification',
  qa: 'question-answering',
};
const optimizers = {
  SGD: SGD({ momentum: 0.9 }),
  Adafactor: Adafactor(),
  Adagrad: Adagrad(),
  RMSprop: RMSprop(),
  Lion: Lion(),
};

function generating(
  from: string,
  checkpoint: Checkpoint,
  options: LoadOptions = {},
  entries: readonly CausalEntry[] = causalEntries,
): NamedProgram {
  const opened = modelOf(checkpoint, options);
  return {
    from,
    program(target) {
      const graph = fitting(opened, target);
      const traced = Object.fromEntries(entries.map((e) => [e, graph(e)]));
      return compile('test', traced, target, { cache: opened.cache });
    },
  };
}

function training(
  from: string,
  task: SequenceTask,
  resolve: Parameters<typeof traceTraining>[3],
  options: Partial<TrainStepOptions> = {},
): NamedProgram {
  const settings = { optimizer: AdamW(), dims: { batch: 2, seq: 16 }, maxGradNorm: 1, ...options };
  const { entries } = traceTraining(task, ['train', 'accumulate'], settings, resolve);
  return { from, program: (target) => compile('test', { ...entries }, target) };
}

const retyped = (checkpoint: Checkpoint, dtype: DType): Checkpoint => ({
  ...checkpoint,
  tensors: new Map([...checkpoint.tensors].map(([name, t]) => [name, { ...t, dtype }])),
});

async function* goldenPrograms(): AsyncGenerator<NamedProgram> {
  for (const name of ['stories260K', 'babyllama-tok105', 'gpt-nano-sort']) {
    const folder = join(material, 'lm', name, 'hf');
    if (existsSync(folder)) yield generating(name, await openCheckpoint(folder));
  }
  for (const name of existsSync(golden) ? readdirSync(golden).sort() : []) {
    const folder = join(golden, name);
    if (!existsSync(join(folder, 'config.json'))) continue;
    const checkpoint = await openCheckpoint(folder);
    const type = String(checkpoint.config.model_type);
    const { kind } = readJson<{ kind: string }>(join(folder, 'golden.json'));
    if (kind === 'causal-lm' && supportedTypes('causal-lm').includes(type)) {
      for (const dtype of ['f32', 'bf16'] as const) yield generating(`${name} ${dtype}`, retyped(checkpoint, dtype));
      const { task, checkpoint: named } = fittedModel(checkpoint, 'causal-lm');
      yield training(`${name} in training`, task, weightResolver(named));
    } else if (Object.hasOwn(tasks, kind) && supportedTypes('encoder').includes(type)) {
      const model = fittedModel(checkpoint, tasks[kind]);
      const limits = { batch: 8, length: 32, chunk: 32 };
      const graph = (entry: string) => model.trace(entry, limits, weightResolver(model.checkpoint));
      const entries = { forward: graph('forward'), evaluate: graph('evaluate') };
      yield { from: name, program: (target) => compile('test', entries, target) };
      yield training(`${name} in training`, model.task, weightResolver(model.checkpoint));
    }
  }
}

/** Models of a few layers. */
export async function* smallPrograms(): AsyncGenerator<NamedProgram> {
  const checkpoint = await openCheckpoint(example);
  for (const cache_implementation of ['dynamic', 'static'] as const) {
    yield generating(`tiny-llama, ${cache_implementation}`, checkpoint, { cache_implementation });
  }
  yield* goldenPrograms();
  const task = smallTask();
  for (const [name, optimizer] of Object.entries(optimizers)) yield training(name, task, () => 'f32', { optimizer });
  const matrices = { optimizer: Muon(), isTrained: (name: string) => name.endsWith('_proj.weight') };
  yield training('Muon', task, () => 'f32', matrices);
  for (const compute of ['bf16', 'f16'] as const)
    yield training(`training in ${compute}`, task, () => 'f32', { compute });
}

/** Models of real sizes, whose kernels differ where sizes count. */
export function* sizedPrograms(
  names: readonly ShapeName[] = shapeNames,
  dtypes: readonly DType[] = ['f32', 'bf16', 'f16'],
): Generator<NamedProgram> {
  for (const name of names) {
    for (const dtype of dtypes) {
      yield generating(`${name} ${dtype}`, retyped(outline(name, 'bf16'), dtype), {}, devices.cuda.entries);
    }
  }
}
