// Checkpoints of a training: folders `checkpoint-STEP` in the layout of Hugging Face, with safetensors in place of pickles.
// model.safetensors, config.json and the tokenizer's files are those of a model that can be loaded;
// optimizer.safetensors holds every other state of the program by name (`exp_avg.WEIGHT`, `step`, the loss scale, the
// random key), scheduler.json the place in the schedule, trainer_state.json the state, training_args.json the arguments.
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { trainStates } from '../../frontends/dsl/index.ts';
import { type JsonObject, readJsonIfPresent, reason } from '../../frontends/huggingface/json.ts';
import { writeSafetensors } from '../../frontends/huggingface/safetensors.ts';
import { ModelcError } from '../../ir/error.ts';
import { removeFolder, writeFolder, writeJson } from '../hub/write-folder.ts';
import { bytesOf, type HostTensor } from '../tensors/host-tensor.ts';
import type { TrainingArguments } from './arguments.ts';
import type { FittedSession } from './fitted-session.ts';
import type { SchedulePlace } from './learning-rate.ts';
import { readModel, readStates, saveModel } from './save-model.ts';
import type { TrainableModel } from './trainable.ts';
import { TrainerState } from './trainer-state.ts';

const names = {
  optimizer: 'optimizer.safetensors',
  scheduler: 'scheduler.json',
  state: 'trainer_state.json',
  arguments: 'training_args.json',
} as const;
const pattern = /^checkpoint-(\d+)$/;

/** Something that writes its files into a folder: a tokenizer or processor. */
export interface Saveable {
  save_pretrained(folder: string): Promise<unknown> | unknown;
}

export interface CheckpointContents {
  readonly model: TrainableModel;
  readonly session: FittedSession;
  readonly state: TrainerState;
  readonly args: TrainingArguments;
  readonly place: SchedulePlace;
  readonly processing: Saveable | undefined;
}

export const checkpointFolder = (output_dir: string, step: number): string => join(output_dir, `checkpoint-${step}`);

/** The parameters that are trained, as they are now. */
export async function parametersOf(session: FittedSession): Promise<Map<string, HostTensor>> {
  const values = new Map<string, HostTensor>();
  for (const name of session.training.parameters) values.set(name, await session.read(name));
  return values;
}

/** States that a training goes on from, besides the parameters. Accumulators are empty between steps. */
function optimizerStates({ states, training }: FittedSession): string[] {
  const parameters = new Set(training.parameters);
  const accumulators = new Set([trainStates.accumulated, ...training.parameters.map(trainStates.gradient)]);
  return states.filter((name) => !parameters.has(name) && !accumulators.has(name));
}

/** Writes the files of a model and what loads it. */
export async function writeModelFiles(
  folder: string,
  { model, args, processing }: Pick<CheckpointContents, 'model' | 'args' | 'processing'>,
  values: ReadonlyMap<string, HostTensor>,
): Promise<void> {
  await saveModel(folder, model, values);
  await processing?.save_pretrained(folder);
  await writeJson(join(folder, names.arguments), args.to_dict());
}

/** Writes the checkpoint of the step that is done, whole or not at all. */
export async function writeCheckpoint(folder: string, contents: CheckpointContents): Promise<void> {
  const { session, state, args, place } = contents;
  await writeFolder(folder, async (partial) => {
    await writeModelFiles(partial, contents, await parametersOf(session));
    if (!args.save_only_model) {
      const tensors = [];
      for (const name of optimizerStates(session)) {
        const { dtype, shape, data } = await session.read(name);
        tensors.push({ name, dtype, shape, data: bytesOf(data) });
      }
      await writeSafetensors(join(partial, names.optimizer), tensors);
      await writeJson(join(partial, names.scheduler), place);
    }
    await writeFile(join(partial, names.state), state.to_json());
  });
}

/** The checkpoints in a folder, by falling step. */
async function checkpointsIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder).catch(() => []);
  const steps = entries.flatMap((name) => pattern.exec(name)?.[1] ?? []).map(Number);
  return steps.sort((a, b) => b - a).map((step) => checkpointFolder(folder, step));
}

/** The last checkpoint in a folder; undefined where there is none. */
export const get_last_checkpoint = async (folder: string): Promise<string | undefined> =>
  (await checkpointsIn(folder))[0];

/** Removes all but the newest `limit` checkpoints; `kept`, the best one, stays in any case. */
export async function rotateCheckpoints(folder: string, limit: number | null, kept: string | null): Promise<void> {
  if (limit === null || limit <= 0) return;
  const all = await checkpointsIn(folder);
  if (all.length === 0) return;
  // The last one is what a run goes on from, so that it stays beside the best one even where only one is wanted.
  const [last] = all;
  const others = all.filter((path) => path !== last && path !== kept);
  const best = kept !== null && kept !== last && all.includes(kept) ? [kept] : [];
  const most = Math.max(limit, 1 + best.length);
  for (const path of [last, ...best, ...others].slice(most)) await remove(path);
}

/** Removes all checkpoints but one. */
export async function keepOnly(folder: string, kept: string): Promise<void> {
  for (const path of await checkpointsIn(folder)) if (path !== kept) await remove(path);
}

async function remove(path: string): Promise<void> {
  try {
    await removeFolder(path);
  } catch (cause) {
    throw new ModelcError('input', `${path}, which is to be rotated out, cannot be removed: ${reason(cause)}`, {
      cause,
    });
  }
}

async function readJson(folder: string, name: string): Promise<JsonObject> {
  const path = join(folder, name);
  const json = await readJsonIfPresent(path);
  if (json) return json;
  throw new ModelcError('checkpoint', `${path} does not exist; name the folder of a whole checkpoint to resume from`);
}

/** The state of a checkpoint. Throws ModelcError 'checkpoint' or 'parse' where it is incomplete or damaged. */
export async function readTrainerState(folder: string): Promise<TrainerState> {
  return TrainerState.from_json(await readJson(folder, names.state), join(folder, names.state));
}

/** Arguments from which the place of a checkpoint in its run, or what its states mean, follows. */
const fixedArguments = [
  'optim',
  'per_device_train_batch_size',
  'gradient_accumulation_steps',
  'seed',
  'data_seed',
  'train_sampling_strategy',
  'dataloader_drop_last',
  'fp16',
  'lr_scheduler_type',
] as const;

/** Throws ModelcError 'input' where a checkpoint was written with arguments that would make the rest another run. */
export async function checkArguments(folder: string, args: TrainingArguments): Promise<void> {
  const json = await readJsonIfPresent(join(folder, names.arguments));
  if (!json) return;
  for (const name of fixedArguments) {
    const before = json[name];
    if (before === undefined || before === args[name]) continue;
    throw new ModelcError(
      'input',
      `${folder} was written with ${name}: ${JSON.stringify(before)}, but training is to go on with ${JSON.stringify(args[name])}; ` +
        `set ${name} back, or load the model of that folder and train anew`,
    );
  }
}

/** Gives a session the states of a checkpoint, all or none of them. Throws ModelcError 'checkpoint'. */
export async function restoreSession(folder: string, model: TrainableModel, session: FittedSession): Promise<void> {
  const values = await readModel(folder, model, session.training.parameters);
  const others = await readStates(join(folder, names.optimizer), optimizerStates(session));
  const states = new Map([...values, ...others]);
  await checkStates(folder, states, session);
  for (const [name, value] of states) if (session.states.includes(name)) await session.write(name, value);
}

/** Gives a session the parameters of a checkpoint. */
export async function restoreParameters(folder: string, model: TrainableModel, session: FittedSession): Promise<void> {
  const values = await readModel(folder, model, session.training.parameters);
  await checkStates(folder, values, session);
  for (const [name, value] of values) if (session.states.includes(name)) await session.write(name, value);
}

async function checkStates(
  folder: string,
  values: ReadonlyMap<string, HostTensor>,
  session: FittedSession,
): Promise<void> {
  for (const [name, { dtype, shape }] of values) {
    if (!session.states.includes(name)) continue;
    const now = await session.read(name);
    if (now.dtype === dtype && now.shape.join() === shape.join()) continue;
    throw new ModelcError(
      'checkpoint',
      `${folder} has ${name} as ${dtype} [${shape}], but the model to be trained has ${now.dtype} [${now.shape}]; ` +
        'the checkpoint belongs to another model',
    );
  }
}

/** The place in the schedule that a checkpoint has. */
export async function readPlace(folder: string): Promise<SchedulePlace> {
  const json = await readJson(folder, names.scheduler);
  const { steps, metric } = json;
  if (typeof steps !== 'number' || !Number.isInteger(steps) || steps < 0) {
    throw new ModelcError(
      'checkpoint',
      `${join(folder, names.scheduler)} has no number of steps; take another checkpoint`,
    );
  }
  return { steps, metric: (metric ?? null) as SchedulePlace['metric'] };
}
