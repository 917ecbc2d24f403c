// The smallest config.json of every family that still has all its parts: two layers, heads that share keys where the family
// has such, windows shorter than the sequences, experts that are not chosen, and dropout. And a batch for a task of any.
import {
  encoderHeads,
  imageHeads,
  problemTypes,
  type SequenceInput,
  type SequenceTask,
} from '../../frontends/dsl/index.ts';
import { describeModel, supportedTypes, type TaskName } from '../../frontends/huggingface/index.ts';
import type { JsonObject } from '../../frontends/huggingface/json.ts';
import { type NdArray, ndarray } from '../../ir/ndarray.ts';

const vocab = 11;
const window = 3;

/** Fields that Llama's descendants share. */
const llama: JsonObject = {
  vocab_size: vocab, hidden_size: 8, intermediate_size: 6, num_hidden_layers: 2, num_attention_heads: 2,
  num_key_value_heads: 1, head_dim: 4, max_position_embeddings: 16, attention_dropout: 0.2,
}; // biome-ignore format: one table
const alternating: JsonObject = { layer_types: ['sliding_attention', 'full_attention'], sliding_window: window };
const experts: JsonObject = { num_experts: 3, num_local_experts: 3, num_experts_per_tok: 2, moe_intermediate_size: 6, norm_topk_prob: true }; // biome-ignore format: one row
/** Fields that GPT-2's descendants share, under the names of the one or the other. */
const gpt: JsonObject = {
  vocab_size: vocab, n_embd: 8, hidden_size: 8, d_model: 8, n_layer: 2, n_layers: 2, num_layers: 2, num_hidden_layers: 2,
  n_head: 2, n_heads: 2, num_heads: 2, num_attention_heads: 2, n_positions: 16, max_position_embeddings: 16, n_inner: 12,
  intermediate_size: 12, ffn_dim: 12, ffn_hidden_size: 12, embd_pdrop: 0.2, attn_pdrop: 0.2, resid_pdrop: 0.2,
  embed_dropout: 0.2, attention_dropout: 0.2, resid_dropout: 0.2, hidden_dropout: 0.2, dropout: 0.2,
}; // biome-ignore format: one table

const mamba: JsonObject = { vocab_size: vocab, hidden_size: 8, num_hidden_layers: 2, state_size: 3, conv_kernel: 3, time_step_rank: 2 }; // biome-ignore format: one row

const causal: Readonly<Record<string, JsonObject>> = {
  bloom: gpt,
  codegen: { ...gpt, n_embd: 16, hidden_size: 16, n_head: 4, num_attention_heads: 4, rotary_dim: 2 },
  cohere: { ...llama, use_qk_norm: true },
  deepseek_v3: {
    ...llama, ...experts, num_local_experts: 4, num_key_value_heads: 2, head_dim: null, n_routed_experts: 4, n_shared_experts: 1, n_group: 2,
    topk_group: 1, first_k_dense_replace: 1, kv_lora_rank: 4, q_lora_rank: 4, qk_rope_head_dim: 2, qk_nope_head_dim: 2,
    v_head_dim: 3,
  }, // biome-ignore format: one table
  falcon_mamba: mamba,
  falcon: { ...gpt, new_decoder_architecture: true, num_kv_heads: 1, bias: true },
  gemma: llama,
  gemma2: { ...llama, ...alternating, query_pre_attn_scalar: 4 },
  glm: llama,
  gpt2: gpt,
  gpt_neo: { ...gpt, window_size: window },
  gpt_neox: { ...gpt, rotary_pct: 0.5 },
  gpt_oss: { ...llama, ...alternating, ...experts },
  gptj: { ...gpt, rotary_dim: 2 },
  granite: {
    ...llama,
    embedding_multiplier: 2,
    attention_multiplier: 0.4,
    residual_multiplier: 0.5,
    logits_scaling: 3,
  },
  helium: llama,
  lfm2: { ...llama, layer_types: ['conv', 'full_attention'], conv_bias: true, block_multiple_of: 2 },
  llama: { ...llama, mlp_bias: true, attention_bias: true, tie_word_embeddings: true },
  mamba: { ...mamba, use_bias: true },
  mistral: { ...llama, sliding_window: window },
  mixtral: { ...llama, ...experts, sliding_window: window },
  mpt: { ...gpt, attn_config: { attn_pdrop: 0.2, clip_qkv: 1 } },
  olmo2: llama,
  opt: { ...gpt, word_embed_proj_dim: 4, do_layer_norm_before: false },
  qwen2: { ...llama, use_sliding_window: true, max_window_layers: 1, sliding_window: window },
  qwen2_moe: { ...llama, ...experts, shared_expert_intermediate_size: 6 },
  qwen3: llama,
  qwen3_moe: { ...llama, ...experts },
  starcoder2: { ...llama, sliding_window: window },
};

const bert: JsonObject = {
  vocab_size: vocab, hidden_size: 8, intermediate_size: 6, num_hidden_layers: 2, num_attention_heads: 2,
  max_position_embeddings: 16, hidden_dropout_prob: 0.2, attention_probs_dropout_prob: 0.2, num_labels: 3,
}; // biome-ignore format: one table

/** Answers have a start and an end, and no other label. */
const answers: JsonObject = { num_labels: 2 };

const encoders: Readonly<Record<string, JsonObject>> = {
  albert: { ...bert, embedding_size: 4, classifier_dropout_prob: 0.2 },
  bert,
  camembert: { ...bert, tie_word_embeddings: false },
  distilbert: { ...bert, dim: 8, hidden_dim: 6, n_layers: 2, n_heads: 2, dropout: 0.2, attention_dropout: 0.2 },
  electra: { ...bert, embedding_size: 4, tie_word_embeddings: false },
  mpnet: { ...bert, relative_attention_num_buckets: 8 },
  roberta: bert,
  vit: {
    hidden_size: 8,
    intermediate_size: 6,
    num_hidden_layers: 2,
    num_attention_heads: 2,
    image_size: 8,
    patch_size: 4,
    num_labels: 3,
  },
  'xlm-roberta': bert,
};

const t5: JsonObject = { vocab_size: vocab, d_model: 8, d_kv: 4, d_ff: 6, num_layers: 2, num_heads: 2, relative_attention_num_buckets: 4, relative_attention_max_distance: 6, dropout_rate: 0.2 }; // biome-ignore format: one row
const bart: JsonObject = {
  vocab_size: vocab, d_model: 8, encoder_layers: 2, encoder_ffn_dim: 6, encoder_attention_heads: 2, decoder_layers: 2,
  decoder_ffn_dim: 6, decoder_attention_heads: 2, max_position_embeddings: 16, pad_token_id: 0, decoder_start_token_id: 1,
  dropout: 0.2, attention_dropout: 0.2, activation_dropout: 0.2, scale_embedding: true,
}; // biome-ignore format: one table

const seq2seq: Readonly<Record<string, JsonObject>> = {
  bart,
  blenderbot: bart,
  'blenderbot-small': bart,
  m2m_100: bart,
  marian: bart,
  mbart: bart,
  mt5: t5,
  pegasus: bart,
  t5,
};

export interface SmallTask {
  /** The family, and what else tells the task from others of it. */
  readonly family: string;
  readonly name: string;
  readonly task: SequenceTask;
}

interface Kind {
  readonly families: readonly string[];
  readonly configs: Readonly<Record<string, JsonObject>>;
  tasksOf(family: string, config: JsonObject): SmallTask[];
}

const smallTask = (family: string, config: JsonObject, task: TaskName, name = ''): SmallTask => ({
  family,
  name: name === '' ? family : `${family}, ${name}`,
  task: describeModel({ ...config, model_type: family }, `the small ${family}`, task).task,
});

const kinds: readonly Kind[] = [
  {
    families: supportedTypes('causal-lm'),
    configs: causal,
    tasksOf: (family, config) => [smallTask(family, config, 'causal-lm')],
  },
  {
    families: supportedTypes('seq2seq-lm'),
    configs: seq2seq,
    tasksOf: (family, config) => [smallTask(family, config, 'seq2seq-lm')],
  },
  {
    families: supportedTypes('encoder'),
    configs: encoders,
    tasksOf: (family, config) =>
      (family === 'vit' ? imageHeads : encoderHeads).flatMap((head) =>
        head === 'sequence-classification'
          ? problemTypes.map((problem_type) => smallTask(family, { ...config, problem_type }, head, problem_type))
          : [smallTask(family, head === 'question-answering' ? { ...config, ...answers } : config, head, head)],
      ),
  },
];

/** Every family with its config and the tasks that it is asked of. */
export const smallConfigs = [
  ...Object.entries(causal).map(([family, config]) => smallConfig(family, config, ['causal-lm'])),
  ...Object.entries(seq2seq).map(([family, config]) => smallConfig(family, config, ['seq2seq-lm'])),
  ...Object.entries(encoders).map(([family, config]) =>
    smallConfig(family, { ...config, ...answers }, ['encoder', ...(family === 'vit' ? imageHeads : encoderHeads)]),
  ),
];

function smallConfig(model_type: string, config: JsonObject, tasks: readonly TaskName[]) {
  return { config: { ...config, model_type } as JsonObject & { readonly model_type: string }, tasks };
}

/** Every family of decoders and of encoder-decoders, and every family of encoders with every head and loss that it has. */
export const smallTasks: readonly SmallTask[] = kinds.flatMap(({ families, configs, tasksOf }) =>
  families.flatMap((family) => (Object.hasOwn(configs, family) ? tasksOf(family, configs[family]) : [])),
);

/** Families that are served and have no config here, which there must be none of. */
export const withoutConfig: readonly string[] = kinds.flatMap(({ families, configs }) =>
  families.filter((family) => !Object.hasOwn(configs, family)),
);

/** The sizes of a batch. */
export const sizes = { batch: 2, seq: 5, source: 4 } as const;

/** A column for every input and label: the second row is padded, and one label of the first does not count. */
export function smallBatch({ inputs, labels, countsItems }: SequenceTask): Map<string, NdArray> {
  const ids = [3, 9, 2, 7, 10, 4, 8, 5, 6, 6]; // no token that a family calls padding: its embedding is not trained
  const isToken = ({ axes }: SequenceInput): boolean => axes[1] === 'seq' || axes[1] === 'source';
  const value = (column: SequenceInput, row: number, position: number, i: number): number => {
    const isPadding = row === 1 && position < 2; // its first queries see no key
    switch (column.name) {
      case 'input_ids':
      case 'decoder_input_ids':
        return ids[i];
      case 'attention_mask':
      case 'decoder_attention_mask':
        return isPadding ? 0 : 1;
      case 'token_type_ids':
        return position > 2 ? 1 : 0;
      case 'start_positions':
        return 1 + row;
      case 'end_positions':
        return sizes.seq - row; // one of them lies behind the sequence
      default:
        if (column.dtype === 'f32') return i % 2;
        if (!isToken(column)) return 2 - row;
        return isPadding || i === 1 ? -100 : countsItems ? ids[i] : ids[i] % 3;
    }
  };
  return new Map(
    [...inputs, ...labels].map((column) => {
      const shape = column.axes.map((axis) => (typeof axis === 'number' ? axis : sizes[axis as keyof typeof sizes]));
      const perRow = shape.slice(1).reduce((a, b) => a * b, 1);
      const data = Array.from({ length: shape[0] * perRow }, (_, i) =>
        value(column, Math.floor(i / perRow), i % perRow, i),
      );
      return [column.name, ndarray(column.dtype, shape, data)];
    }),
  );
}
