// What every decoding method is given for one generation, and what it gives back.
import type { Tensor } from '../tensors/tensor.ts';
import type { DynamicCache } from './cache.ts';
import type { DecodeLoop } from './decode-loop.ts';
import type { LogitsProcessorList } from './logits-processor.ts';
import type { RandomStream } from './random.ts';
import type { ResolvedCall } from './resolved-call.ts';
import type { StoppingCriteriaList } from './stopping-criteria.ts';
import type { BaseStreamer } from './streamers.ts';

export interface Run {
  readonly call: ResolvedCall;
  readonly decoder: DecodeLoop;
  readonly cache: DynamicCache;
  /** The prompt, each row repeated for its beams or sequences. */
  readonly prompt: readonly (readonly bigint[])[];
  /** Which tokens of the prompt are real, row-major; undefined when all are. */
  readonly mask: Uint8Array | undefined;
  readonly vocabSize: number;
  readonly processors: LogitsProcessorList;
  readonly stopping: StoppingCriteriaList;
  readonly random: RandomStream;
  readonly streamer: BaseStreamer | undefined;
  /** Turns raw scores into guided ones (classifier-free guidance), before the processors. */
  readonly guide: ((scores: Float32Array, rows: readonly (readonly bigint[])[]) => Promise<void>) | undefined;
}

export interface Decoded {
  /** Prompt and continuation of every returned sequence, padded to one length. */
  readonly sequences: bigint[][];
  readonly scores?: Tensor<'float32'>[];
  readonly logits?: Tensor<'float32'>[];
  readonly sequences_scores?: number[];
  readonly beam_indices?: number[][];
}

/** The ids that the cache does not hold yet: the prompt at first, then the last token. */
export const unread = (rows: readonly (readonly bigint[])[], cache: DynamicCache): bigint[][] =>
  rows.map((row) => row.slice(cache.get_seq_length()));

/** The columns of the prompt's mask that belong to `unread`. */
export function unreadMask(run: Run): Uint8Array | undefined {
  const past = run.cache.get_seq_length();
  if (!run.mask || past === 0) return run.mask;
  const length = run.prompt[0].length;
  return Uint8Array.from(
    run.prompt.flatMap((_, r) => Array.from(run.mask!.subarray(r * length + past, (r + 1) * length))),
  );
}
