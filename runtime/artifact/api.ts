// What a compiled artifact exports, as types that stand alone: this file becomes the artifact's index.d.ts, so it
// imports nothing.

declare global {
  /** That of DOM or of @types/node, with which it merges; named here for programs that have neither. */
  interface AbortSignal {}
}

/** Why something failed: programs branch on it, people read the message. */
export type ErrorCode = 'type' | 'parse' | 'checkpoint' | 'input' | 'toolchain' | 'unsupported' | 'network';

/** Everything that an artifact throws on purpose. */
export declare class ModelcError extends Error {
  /** Tells it from other errors where `instanceof` cannot, as between an app and a worker. */
  readonly name: 'ModelcError';
  /** What kind of failure it is. */
  readonly code: ErrorCode;
  private constructor();
}

/** Options of `generate`: names, meanings and defaults are those of GenerationConfig in transformers. */
export interface GenerateOptions {
  /** Tokens to add at most. */
  max_new_tokens?: number;
  /** Tokens to add at least: no token ends the text before (0). */
  min_new_tokens?: number;
  /** Sample instead of taking the most likely token (default: the model's generation_config.json, else false). */
  do_sample?: boolean;
  /** What logits are divided by before sampling: below 1 sharpens, above 1 flattens (1). */
  temperature?: number;
  /** Sample among the k most likely tokens; 0 means all. */
  top_k?: number;
  /** Sample among the most likely tokens that hold this probability mass. */
  top_p?: number;
  /** Sample among tokens at least this fraction as likely as the most likely one. */
  min_p?: number;
  /** Above 1 discourages tokens that are there already, below 1 encourages them (1). */
  repetition_penalty?: number;
  /** No sequence of so many tokens comes twice; 0, the default: any may. */
  no_repeat_ngram_size?: number;
  /** Generation ends with one of these tokens (default: those of the model). */
  eos_token_id?: number | number[];
  /** Generation ends when one of these texts appears. */
  stop_strings?: string | string[];
  /** Makes sampling reproducible. */
  seed?: number;
  /** Gets the ids of each step as they come, e.g. to show the speed; the pieces of text are for people. */
  token_callback_function?: (ids: number[]) => void;
  /** Tokens that a GPU computes before it is asked for more (default 1); they arrive together, and spare the host work. */
  tokens_per_submit?: number;
  /** Ends the generation early; it then throws the signal's reason, by default a DOMException named AbortError. */
  signal?: AbortSignal;
}

/** What a generation has written. */
export interface GenerateOutput {
  /** Prompt and continuation, or all that a model with an encoder writes; '' of one that was compiled without a tokenizer. */
  text: string;
  /** The continuation alone; '' of a model that was compiled without a tokenizer. */
  new_text: string;
  /** Token ids of prompt and continuation. */
  ids: number[];
  /** Token ids of the continuation. */
  new_ids: number[];
}

/** A generation under way: iterate over pieces of text as they come, or await the whole. */
export interface Generation extends AsyncIterable<string>, PromiseLike<GenerateOutput> {}

/** What compiled models of every kind have. */
export interface LoadableModel {
  /**
   * Loads the model now rather than at its first use, with the options and errors of the function `load`. A model that
   * loads already, or is loaded, is only waited for.
   */
  load(options?: LoadOptions): Promise<void>;
  /** Token ids of a text, special tokens included. A model that was compiled without a tokenizer has none. */
  encode(text: string): Promise<number[]>;
  /** Text of token ids, special tokens left out. */
  decode(ids: readonly number[]): Promise<string>;
  /** Frees code and memory; the model cannot be used afterwards. */
  dispose(): Promise<void>;
}

/**
 * A compiled model that writes: one that continues texts, or, with an encoder, one that translates or summarizes them.
 *
 *     import story from './model/index.js'
 *
 *     for await (const piece of story.generate('Once upon a time', { max_new_tokens: 100 })) console.log(piece)
 *     const { text } = await story.generate('Once upon a time')
 */
export interface Model extends LoadableModel {
  /**
   * Continues a text, or token ids; a model with an encoder writes what it makes of them. The pieces are of what is new,
   * without the prompt: joined, they are `new_text`.
   */
  generate(prompt: string | readonly number[], options?: GenerateOptions): Generation;
}

/** A tensor, row-major. */
export interface ModelTensor {
  /** Its numbers. */
  readonly data: Float32Array | BigInt64Array;
  /** Its shape. */
  readonly dims: readonly number[];
}

/** Columns of a batch by name, as lists of rows or as tensors: `input_ids`, `attention_mask`, … */
export interface ModelInputs {
  /** A row, rows, or a tensor. */
  readonly [name: string]: readonly number[] | readonly (readonly number[])[] | ModelTensor;
}

/**
 * A compiled model that reads whole inputs at once: an encoder, alone or with a head.
 *
 *     const { logits } = await model.forward('The river is wide.')
 */
export interface SequenceModel extends LoadableModel {
  /** Runs the model on a text, on texts of one batch, or on columns. Gives tensors by the names of transformers. */
  forward(inputs: string | readonly string[] | ModelInputs): Promise<Readonly<Record<string, ModelTensor>>>;
}

/** A class, and how sure a classifier is of it. */
export interface ClassScore {
  /** The name that the model's config has for it. */
  readonly label: string;
  /** From 0 to 1; of a regression, the number itself. */
  readonly score: number;
}

/**
 * A compiled model that classifies.
 *
 *     const [{ label, score }] = await model.classify('A film to see twice.')
 */
export interface Classifier extends SequenceModel {
  /** The scores of all classes, best first, of a text (and another, of models that read pairs) or of columns of one row. */
  classify(input: string | ModelInputs, text_pair?: string): Promise<ClassScore[]>;
}

/** How far a file of the artifact is; names and meanings follow transformers.js. */
export interface FileProgress {
  /**
   * 'initiate' comes first, once for every file, so that totals can be summed; then per file 'download', 'progress' after
   * every piece, 'done'; at the very end 'ready', once, with the sums of all files.
   */
  status: 'initiate' | 'download' | 'progress' | 'done' | 'ready';
  /** The artifact: the name of its folder. */
  name: string;
  /** The file in it; '' for 'ready'. */
  file: string;
  /** 0 to 100. */
  progress: number;
  /** Bytes that are here. */
  loaded: number;
  /** Bytes of the file, or of all files. */
  total: number;
  /** Where the piece came from; local files count as cache. */
  from: 'network' | 'cache';
}

/** Something that does not stop loading, such as a cache that is full. */
export interface ProgressWarning {
  /** Tells it from reports of progress. */
  status: 'warning';
  /** The artifact: the name of its folder. */
  name: string;
  /** The file that it is about. */
  file: string;
  /** A sentence for people. */
  message: string;
}

/** What progress_callback is told: `status` says which of the two it is. */
export type ProgressInfo = FileProgress | ProgressWarning;

/** Options of `load`. */
export interface LoadOptions {
  /** Called as loading goes on. */
  progress_callback?: (info: ProgressInfo) => void;
  /** Ends loading early; load() then throws the signal's reason. What was downloaded stays in the cache. */
  signal?: AbortSignal;
  /** Keep downloaded weights in the browser's storage (default true), so that the next load() need not fetch them. */
  cache?: boolean;
  /**
   * Compare all data of weights in local files with their digests, which takes as long as reading them (default false).
   * Code, tables and lengths are compared in any case; so is all that is downloaded.
   */
  verify?: boolean;
}

/**
 * Checks that this machine can run the artifact, before anything large is read, and loads its weights. Throws ModelcError
 * 'unsupported' when the machine does not fit, 'checkpoint' when files are missing or damaged, 'network' when a download
 * breaks (load() again goes on where it ended), and the signal's reason when it fires.
 */
export declare function load(options?: LoadOptions): Promise<ArtifactModel>;

/** The model of this artifact. */
export type ArtifactModel = Model;

/** The model, loaded at its first use. */
declare const model: ArtifactModel;
export default model;
