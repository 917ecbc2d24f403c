// The other names that fields of a config.json may have, as `attribute_map` of transformers' config classes lists them.

type Names = Readonly<Record<string, string>>;

const gpt: Names = { hidden_size: 'n_embd', num_attention_heads: 'n_head', num_hidden_layers: 'n_layer', max_position_embeddings: 'n_positions' }; // biome-ignore format: one row
const bart: Names = { hidden_size: 'd_model', num_attention_heads: 'encoder_attention_heads', num_hidden_layers: 'encoder_layers' }; // biome-ignore format: one row
const t5: Names = { hidden_size: 'd_model', num_attention_heads: 'num_heads', num_hidden_layers: 'num_layers', head_dim: 'd_kv' }; // biome-ignore format: one row

/** By model_type, from the other name to the one that the family reads. */
export const otherNames: Readonly<Record<string, Names>> = {
  bart,
  blenderbot: bart,
  'blenderbot-small': bart,
  bloom: { n_embed: 'hidden_size', num_attention_heads: 'n_head', num_hidden_layers: 'n_layer' },
  codegen: gpt,
  deepseek_v3: { num_local_experts: 'n_routed_experts' },
  distilbert: { hidden_size: 'dim', num_attention_heads: 'n_heads', num_hidden_layers: 'n_layers' },
  gpt2: gpt,
  gpt_neo: { num_attention_heads: 'num_heads', num_hidden_layers: 'num_layers' },
  gpt_oss: { num_experts: 'num_local_experts' },
  gptj: gpt,
  m2m_100: bart,
  marian: bart,
  mbart: bart,
  mixtral: { num_experts: 'num_local_experts' },
  mpt: { hidden_size: 'd_model', num_attention_heads: 'n_heads', num_hidden_layers: 'n_layers' },
  mt5: t5,
  pegasus: bart,
  qwen3_moe: { num_experts: 'num_local_experts' },
  t5,
};
