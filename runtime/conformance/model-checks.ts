// The checks of a case of hf-golden, whatever its kind of model: every golden tensor of a whole forward pass against the
// model's, the loss, what the model generates, and training on the golden batch. Parts that this build cannot run are
// recorded by name, never silently passed over.
import { kindOf, supportedTypes, type TaskName } from '../../frontends/huggingface/index.ts';
import { ModelcError } from '../../ir/error.ts';
import { autoModels } from '../auto/auto-models.ts';
import type { GenerateOptions, GenerateOutput } from '../index.ts';
import { Tensor } from '../index.ts';
import { type CaseReport, relativeError } from './compare.ts';
import { type CaseOptions, columnOf, type GoldenTensors, idsOf, required, rowsOf, tolerance } from './golden.ts';
import { checkTraining, type TrainGolden, trainedTask } from './train.ts';

/** Kinds of hf-golden, and what their models are for. */
const goldenKinds: Readonly<Record<string, TaskName>> = {
  'causal-lm': 'causal-lm',
  seq2seq: 'seq2seq-lm',
  mlm: 'masked-lm',
  seqcls: 'sequence-classification',
  tokcls: 'token-classification',
  qa: 'question-answering',
  vision: 'image-classification',
};

/** What the models of a kind of case are for; undefined for kinds that no model here is of. */
export const taskOfKind = (kind: string | undefined): TaskName | undefined =>
  kind !== undefined && Object.hasOwn(goldenKinds, kind) ? goldenKinds[kind] : undefined;

export const supports = (task: TaskName, modelType: string | undefined): boolean =>
  modelType !== undefined && supportedTypes(kindOf(task)).includes(modelType);

/** golden.json; what a case has is checked. */
export interface ModelGolden {
  readonly kind: string;
  /** Of a decoder: what its one prompt and the continuations of it are. */
  readonly prompt?: readonly number[];
  readonly greedy?: readonly number[] | readonly (readonly number[])[];
  readonly 'greedy_rep_penalty_1.3_no_repeat_2'?: readonly number[];
  readonly beam3?: readonly (readonly number[])[];
  readonly beam3_scores?: readonly number[];
  readonly train?: TrainGolden;
}

/** What models of every kind have. */
export interface Runnable {
  forward(inputs: object): Promise<object>;
  dispose(): void;
}
/** What those that generate have besides. */
export interface Generator extends Runnable {
  generate(options: GenerateOptions & { readonly return_dict_in_generate: true }): Promise<GenerateOutput>;
}

/** Opens a model through the public classes. */
export async function openRunnable(folder: string, task: TaskName, { target, cache }: CaseOptions): Promise<Runnable> {
  const generates = kindOf(task) !== 'encoder';
  return autoModels[task].from_pretrained(folder, {
    target,
    ...(generates ? { cache_implementation: cache } : {}),
  });
}

export async function checkModelCase(
  report: CaseReport,
  folder: string,
  golden: ModelGolden,
  tensors: GoldenTensors,
  options: CaseOptions,
): Promise<void> {
  const task = goldenKinds[golden.kind];
  const model = await openRunnable(folder, task, options);
  try {
    const loss = await checkOutputs(report, model, task, tensors);
    if (loss && golden.train) {
      report.error('loss', relativeError(loss.data, Float32Array.of(golden.train.losses[0])), tolerance);
    }
    if (isGenerator(model)) await checkGenerating(report, model, golden, tensors);
  } finally {
    model.dispose();
  }
  // cases of images do not say which labels they were trained on
  if (golden.train && golden.kind === 'vision') report.leaveOut('training');
  else if (golden.train) {
    await checkTraining(report, await trainedTask(folder, task, tensors), golden.train, options.target);
  }
}

const isGenerator = (model: Runnable): model is Generator => 'generate' in model;

/** Golden tensors that models are given; those of `label_*` are labels. A decoder's mask is checked by itself. */
const inputNames = ['input_ids', 'attention_mask', 'token_type_ids', 'decoder_input_ids', 'pixel_values'];
const maskedTail = 'logits_masked_row1_tail';

/** Every tensor that a whole forward pass gives. The result is the loss, where the case has labels. */
export async function checkOutputs(
  report: CaseReport,
  model: Runnable,
  task: TaskName,
  tensors: GoldenTensors,
): Promise<Tensor<'float32'> | undefined> {
  const inputs: Record<string, Tensor> = {};
  for (const [name, tensor] of tensors) {
    const isInput = inputNames.includes(name) && !(task === 'causal-lm' && name === 'attention_mask');
    if (isInput || name.startsWith('label_')) inputs[name.replace(/^label_/, '')] = columnOf(tensor);
  }
  const output = new Map(Object.entries(await model.forward({ ...inputs, output_hidden_states: true })));
  for (const [name, want] of tensors) {
    if (inputNames.includes(name) || name.startsWith('label_') || name === maskedTail) continue;
    report.error(name, relativeError(outputNamed(output, name), want.data), tolerance);
  }
  if (task === 'causal-lm') await checkMasked(report, model, tensors);
  const loss: unknown = output.get('loss');
  return loss instanceof Tensor ? (loss as Tensor<'float32'>) : undefined;
}

/** The numbers of an output; none where the model does not give it. `hidden_2`: the third of the hidden states. */
function outputNamed(output: ReadonlyMap<string, unknown>, name: string): Float32Array {
  const { states, index } = /^(?<states>\w*hidden)_(?<index>\d+)$/.exec(name)?.groups ?? {};
  const found: unknown = states ? (output.get(`${states}_states`) as unknown[])?.[Number(index)] : output.get(name);
  return found instanceof Tensor && found.data instanceof Float32Array ? found.data : new Float32Array(0);
}

/** Logits behind the padding of a row; positions count what the mask lets be seen. */
async function checkMasked(report: CaseReport, model: Runnable, tensors: GoldenTensors): Promise<void> {
  const [mask, tail] = [tensors.get('attention_mask'), tensors.get(maskedTail)];
  if (!mask || !tail) return;
  const ids = required(tensors, 'input_ids');
  const output = await model.forward({ input_ids: columnOf(ids), attention_mask: columnOf(mask) });
  const logits = outputNamed(new Map(Object.entries(output)), 'logits');
  const [rows, seq] = ids.shape;
  const vocab = logits.length / rows / seq;
  report.error(maskedTail, relativeError(logits.subarray((seq + 3) * vocab, 2 * seq * vocab), tail.data), tolerance);
}

/** What is generated without sampling and without an end token: beside the sources, or from the one prompt. */
async function checkGenerating(
  report: CaseReport,
  model: Generator,
  golden: ModelGolden,
  tensors: GoldenTensors,
): Promise<void> {
  const { prompt, greedy = [], beam3 } = golden;
  const source = prompt
    ? { input_ids: [prompt] }
    : { input_ids: rowsOf(required(tensors, 'input_ids')), attention_mask: rowsOf(required(tensors, 'attention_mask')) }; // biome-ignore format: one choice
  const rows = (prompt ? [greedy] : greedy) as readonly (readonly number[])[];
  const fixed = { ...source, max_new_tokens: rows[0].length - (prompt?.length ?? 1) };
  await checkGenerated(report, 'greedy', model, rows, fixed);
  const penalized = golden['greedy_rep_penalty_1.3_no_repeat_2'];
  const penalties = { repetition_penalty: 1.3, no_repeat_ngram_size: 2 };
  if (penalized) await checkGenerated(report, 'penalties', model, [penalized], { ...fixed, ...penalties });
  if (!beam3) return;
  const beams = prompt ? { num_beams: 3, num_return_sequences: 3 } : { num_beams: 3 };
  const output = await checkGenerated(report, 'beam3', model, beam3, { ...fixed, ...beams });
  if (!golden.beam3_scores) return;
  const scores = output?.sequences_scores?.data ?? new Float32Array(0);
  report.error('beam3 scores', relativeError(scores, Float32Array.from(golden.beam3_scores)), tolerance);
}

/** Generated ids; a way of generating that is not supported is left out by name. */
export async function checkGenerated(
  report: CaseReport,
  name: string,
  model: Generator,
  want: readonly (readonly number[])[],
  options: GenerateOptions,
): Promise<GenerateOutput | undefined> {
  const fixed = { do_sample: false, eos_token_id: null, pad_token_id: 0, return_dict_in_generate: true } as const;
  try {
    const output = await model.generate({ ...options, ...fixed });
    output.past_key_values?.dispose();
    const got = idsOf(output.sequences);
    for (const [i, ids] of want.entries()) report.same(want.length > 1 ? `${name}[${i}]` : name, got[i] ?? [], ids);
    return output;
  } catch (error) {
    if (!(error instanceof ModelcError && error.code === 'unsupported')) throw error;
    report.leaveOut(name);
    return undefined;
  }
}
