// What a LoraConfig is made of: the fields of Python's PEFT, with its defaults.

/** What an adapter's model is for: names are those of PEFT. */
export const TaskType = {
  SEQ_CLS: 'SEQ_CLS',
  SEQ_2_SEQ_LM: 'SEQ_2_SEQ_LM',
  CAUSAL_LM: 'CAUSAL_LM',
  TOKEN_CLS: 'TOKEN_CLS',
  QUESTION_ANS: 'QUESTION_ANS',
  FEATURE_EXTRACTION: 'FEATURE_EXTRACTION',
} as const;
export type TaskType = (typeof TaskType)[keyof typeof TaskType];

/** The initial values of an adapter; `pissa_niter_N` is PiSSA with N iterations of a randomised decomposition. */
export type InitLoraWeights = boolean | 'gaussian' | 'pissa' | `pissa_niter_${number}` | 'olora' | 'orthogonal';

/** The fields of Python's LoraConfig. null is the default of each. */
export interface LoraConfigOptions {
  /** The rank of the factors A [r, in] and B [out, r]; 8. */
  r?: number;
  /** The change of a weight is `lora_alpha / r` times B A, with `use_rslora` lora_alpha / sqrt(r) times; 8. */
  lora_alpha?: number;
  /** The share of what A reads that is dropped in training, from 0 up to, not including, 1; 0. */
  lora_dropout?: number;
  /**
   * The modules that are adapted: names or ends of names at a dot, or a regular expression of Python's that matches whole
   * names, or 'all-linear' for every linear layer but the output layer; null (default): the usual ones of the model's type.
   */
  target_modules?: readonly string[] | string | null;
  /** Modules that are not adapted although target_modules names them, written like those; none. */
  exclude_modules?: readonly string[] | string | null;
  /** Numbers of the layers, from 0, that are adapted; null (default): all. Needs target_modules to be a list. */
  layers_to_transform?: readonly number[] | number | null;
  /** The name of the list in which layers_to_transform counts, such as 'layers' or 'h'; null (default): any. */
  layers_pattern?: readonly string[] | string | null;
  /** Ranks other than `r`, by a regular expression that the end of a module's name matches at a dot; the first counts. */
  rank_pattern?: Readonly<Record<string, number>>;
  /** Alphas other than `lora_alpha`, by such expressions. */
  alpha_pattern?: Readonly<Record<string, number>>;
  /** Which biases of the base are trained and saved: 'none' (default), 'all', or 'lora_only', those of adapted modules. */
  bias?: 'none' | 'all' | 'lora_only';
  /** Whether B has a bias; false. */
  lora_bias?: boolean;
  /** Names or ends of names of modules that are trained whole, as copies, and saved; heads of classifiers are added. */
  modules_to_save?: readonly string[] | null;
  /** Whether weights are stored [in, out], as GPT-2's; what the model does counts, whatever is given. */
  fan_in_fan_out?: boolean;
  /**
   * The initial values: true (default): A uniform within 1/sqrt(in), B zero; false: both random; 'gaussian': A from
   * N(0, 1/r); 'orthogonal' (Büyükakyüz 2024); 'pissa' and 'olora' take the main part of the weight into the factors and
   * leave the rest in the base (Meng et al. 2024, Büyükakyüz 2024).
   */
  init_lora_weights?: InitLoraWeights;
  /** Whether the change is scaled by lora_alpha / sqrt(r) (Kalajdzievski 2023); false. */
  use_rslora?: boolean;
  /** Whether the norm of each output's weights is trained by itself (DoRA, Liu et al. 2024); false. */
  use_dora?: boolean;
  /** Ids whose rows of the token embeddings are trained, or such lists by the name of the table; none. */
  trainable_token_indices?: readonly number[] | Readonly<Record<string, readonly number[]>> | null;
  /** Ranges [from, to) of layers that the model consists of, in order; a layer that comes twice has two adapters. */
  layer_replication?: readonly (readonly [number, number])[] | null;
  /** Whether changes of one of two tied tables are to be changes of the other; served where no tied table is changed; false. */
  ensure_weight_tying?: boolean;
  /** What the model is for; null. With a task of classes, the heads `classifier` and `score` are trained whole. */
  task_type?: TaskType | null;
  /** The base that the adapter belongs to, a note for readers of the file; default the folder of the base. */
  base_model_name_or_path?: string | null;
  /** The revision of the base, a note as well; null. */
  revision?: string | null;
  /** Whether the adapter is not trained; false. */
  inference_mode?: boolean;
}
