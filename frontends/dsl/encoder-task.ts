// The tasks of encoders: a stack that gives hidden states of every position, and what a head makes of them. Losses are
// those of transformers (loss/loss_utils.py); none of them looks at how many labels an accumulated batch has.
import { ModelcError } from '../../ir/error.ts';
import { binaryCrossEntropy, crossEntropy, meanSquaredError, spanLoss } from './losses.ts';
import { group, type Module, type Parameter } from './module.ts';
import { type SequenceInput, type SequenceTask, type Tensors, tensorOf } from './sequence-task.ts';
import type { Tensor } from './tensor.ts';

/** What an encoder is given in a run. */
export interface EncoderInputs {
  /** i32 [batch, seq] */
  readonly inputIds: Tensor;
  /** Tokens that may be attended to, bool [batch, seq]. */
  readonly mask: Tensor;
  /** i32 [batch, seq]; absent where the encoder has no token types. */
  readonly tokenTypes: Tensor | undefined;
}

/** A stack of layers that sees whole sequences: what a model implements to be an encoder. */
export interface Encoder extends Module {
  /** Whether it reads token types. */
  readonly hasTokenTypes: boolean;
  /** The embeddings, then the output of every layer, each [batch, seq, hidden]. */
  forward(inputs: EncoderInputs): Tensor[];
  /** What stands for the whole sequence, [batch, hidden], where the encoder has such a layer. */
  pool?(hidden: Tensor): Tensor;
}

/** An encoder of images of one size: their patches are its positions. */
export interface ImageEncoder extends Module {
  /** What it reads: [batch, channels, size, size]. */
  readonly image: { readonly channels: number; readonly size: number };
  /** Of pixels f32, the embeddings, then the output of every layer, each [batch, positions, hidden]. */
  forward(pixels: Tensor): Tensor[];
  /** What heads read of the last hidden states. */
  finalNorm(hidden: Tensor): Tensor;
}

/** What a model adds to its encoder. */
export interface EncoderHead {
  /** By the names that they have beside the encoder. */
  readonly fields: Readonly<Record<string, Module | Parameter>>;
  /** Of the last hidden states [batch, seq, hidden]. */
  logits(hidden: Tensor): Tensor;
}

/** The tasks that encoders have heads for. */
export const encoderHeads = [
  'masked-lm',
  'sequence-classification',
  'token-classification',
  'question-answering',
] as const;
/** The tasks that encoders of images have heads for. */
export const imageHeads = ['image-classification'] as const;
/** One of encoderHeads or imageHeads. */
export type EncoderHeadName = (typeof encoderHeads | typeof imageHeads)[number];

/** What the numbers that a sequence classifier gives mean, under the names of transformers. */
export const problemTypes = ['regression', 'single_label_classification', 'multi_label_classification'] as const;
/** One of problemTypes. */
export type ProblemType = (typeof problemTypes)[number];

/** What encoderHeadTask makes a task of. */
export interface EncoderTaskOptions {
  /** The name of the encoder's field, with which all names of its weights begin. */
  readonly prefix: string;
  /** The stack below the head. */
  readonly encoder: Encoder | ImageEncoder;
  /** What the head is for, which decides labels and loss. */
  readonly kind: EncoderHeadName;
  /** What computes logits from the last hidden states. */
  readonly head: EncoderHead;
  /** How many classes there are, or numbers that a regression gives. Only sequence classification reads it. */
  readonly labels: number;
  /**
   * What a sequence classifier's numbers mean; default 'regression' for one label, else 'single_label_classification'.
   */
  readonly problemType?: ProblemType | undefined;
}

const hiddenStates = (states: readonly Tensor[]): Tensors =>
  Object.fromEntries(states.map((state, i) => [`hidden_states.${i}`, state]));

const pixels = ({ image: { channels, size } }: ImageEncoder): SequenceInput => ({
  name: 'pixel_values',
  dtype: 'f32',
  axes: ['batch', channels, size, size],
});

const inputsOf = (encoder: Encoder | ImageEncoder): SequenceInput[] =>
  'image' in encoder ? [pixels(encoder)] : textInputsOf(encoder);

const textInputsOf = (encoder: Encoder): SequenceInput[] => [
  { name: 'input_ids', dtype: 'i32', axes: ['batch', 'seq'] },
  { name: 'attention_mask', dtype: 'bool', axes: ['batch', 'seq'], fill: 1 },
  ...(encoder.hasTokenTypes
    ? [{ name: 'token_type_ids', dtype: 'i32', axes: ['batch', 'seq'], fill: 0 } as const]
    : []),
];

const run = (encoder: Encoder | ImageEncoder, inputs: Tensors): Tensor[] =>
  'image' in encoder ? encoder.forward(tensorOf(inputs, 'pixel_values')) : runText(encoder, inputs);

/** The last hidden states as heads read them. */
const lastOf = (encoder: Encoder | ImageEncoder, states: readonly Tensor[]): Tensor => {
  const last = states[states.length - 1];
  return 'image' in encoder ? encoder.finalNorm(last) : last;
};

const runText = (encoder: Encoder, inputs: Tensors): Tensor[] =>
  encoder.forward({
    inputIds: tensorOf(inputs, 'input_ids'),
    mask: tensorOf(inputs, 'attention_mask'),
    tokenTypes: encoder.hasTokenTypes ? tensorOf(inputs, 'token_type_ids') : undefined,
  });

/** The encoder alone: `last_hidden_state`, and `pooler_output` where it pools. Nothing is learned from it by itself. */
export function encoderTask(encoder: Encoder | ImageEncoder): SequenceTask {
  return {
    model: encoder,
    inputs: inputsOf(encoder),
    labels: [],
    countsItems: false,
    outputs(inputs) {
      const states = run(encoder, inputs);
      const last = lastOf(encoder, states);
      return {
        last_hidden_state: last,
        ...('pool' in encoder && encoder.pool ? { pooler_output: encoder.pool(last) } : {}),
        ...hiddenStates(states),
      };
    },
    loss() {
      throw new ModelcError('unsupported', 'an encoder without a head has no loss; load the model of a task');
    },
  };
}

/** An encoder with a head. Results are `logits`, or `start_logits` and `end_logits` of answers. */
export function encoderHeadTask(options: EncoderTaskOptions): SequenceTask {
  const { prefix, encoder, kind, head } = options;
  const { labels, loss } = targetOf(options);
  return {
    model: group({ [prefix]: encoder, ...head.fields }),
    inputs: inputsOf(encoder),
    labels,
    countsItems: false,
    outputs(inputs) {
      const states = run(encoder, inputs);
      const logits = head.logits(lastOf(encoder, states));
      if (kind !== 'question-answering') return { logits, ...hiddenStates(states) };
      const [start, end] = [logits.slice(-1, 0, 1), logits.slice(-1, 1, 2)];
      return { start_logits: start.squeeze(-1), end_logits: end.squeeze(-1), ...hiddenStates(states) };
    },
    loss,
  };
}

/** What the results of a head are compared with, and how. */
function targetOf({
  kind,
  labels,
  problemType = labels === 1 ? 'regression' : 'single_label_classification',
}: EncoderTaskOptions): Pick<SequenceTask, 'labels' | 'loss'> {
  const perToken = (name: string): SequenceInput => ({ name, dtype: 'i32', axes: ['batch', 'seq'] });
  const perRow = (name: string): SequenceInput => ({ name, dtype: 'i32', axes: ['batch'] });
  const classes: SequenceTask['loss'] = (outputs, given, options) =>
    crossEntropy(tensorOf(outputs, 'logits'), tensorOf(given, 'labels'), options);
  switch (kind) {
    case 'masked-lm':
    case 'token-classification':
      return { labels: [perToken('labels')], loss: classes };
    case 'question-answering':
      return {
        labels: [perRow('start_positions'), perRow('end_positions')],
        loss: (outputs, given) =>
          spanLoss(
            [tensorOf(outputs, 'start_logits'), tensorOf(outputs, 'end_logits')],
            [tensorOf(given, 'start_positions'), tensorOf(given, 'end_positions')],
          ),
      };
    case 'image-classification':
    case 'sequence-classification': {
      if (problemType === 'single_label_classification') return { labels: [perRow('labels')], loss: classes };
      const isOne = problemType === 'regression' && labels === 1;
      const compare = problemType === 'regression' ? meanSquaredError : binaryCrossEntropy;
      return {
        labels: [{ name: 'labels', dtype: 'f32', axes: isOne ? ['batch'] : ['batch', labels] }],
        loss(outputs, given, { smoothing = 0 } = {}) {
          if (smoothing > 0) {
            throw new ModelcError('input', `labels of ${problemType} are no classes, and cannot be smoothed; use 0`);
          }
          const logits = tensorOf(outputs, 'logits');
          return compare(isOne ? logits.squeeze(-1) : logits, tensorOf(given, 'labels'));
        },
      };
    }
    default:
      return kind satisfies never;
  }
}
