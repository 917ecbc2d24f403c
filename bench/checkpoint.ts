// Checkpoints of real shapes with random weights. The tensors of a checkpoint are spans of one file of normal numbers,
// neither zero nor constant, since hardware is faster on zeros. The file is a gigabyte at most, or the largest tensor:
// the tensors of larger models overlap in it, which a GPU, where each has memory of its own, cannot notice, and the caches
// of a CPU are too small to.
import { closeSync, existsSync, mkdirSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Checkpoint } from '../frontends/huggingface/index.ts';
import { bytesOf, normsOf, type Shape, type ShapeName, shapes, type WeightType } from './shapes.ts';

export const scratch = (): string => process.env.MODELC_BENCH_DIR ?? join(tmpdir(), 'modelc-bench');

const blockSize = (1 << 20) + 7;
const mostBytes = 2 ** 30;
const alignment = 64;
const align = (bytes: number): number => Math.ceil(bytes / alignment) * alignment;

/** Normal(0, 0.02) numbers by Box and Muller over a xorshift generator. */
export function normalBlock(): Float32Array {
  const block = new Float32Array(blockSize);
  let state = 2463534242;
  const uniform = (): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return ((state >>> 0) + 0.5) / 2 ** 32;
  };
  for (let i = 0; i < blockSize; i++) {
    block[i] = 0.02 * Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
  }
  return block;
}

function encode(values: Float32Array, type: WeightType): Buffer {
  if (type === 'f32') return Buffer.from(values.buffer);
  const bits = new Uint32Array(values.buffer);
  return Buffer.from(Uint16Array.from(bits, (b) => (b + 0x7fff + ((b >>> 16) & 1)) >>> 16).buffer);
}

function tensors(s: Shape): Map<string, number[]> {
  const all = new Map<string, number[]>([['model.embed_tokens.weight', [s.vocab, s.hidden]]]);
  for (let i = 0; i < s.layers; i++) {
    const layer = `model.layers.${i}`;
    all.set(`${layer}.self_attn.q_proj.weight`, [s.heads * s.headDim, s.hidden]);
    all.set(`${layer}.self_attn.k_proj.weight`, [s.kvHeads * s.headDim, s.hidden]);
    all.set(`${layer}.self_attn.v_proj.weight`, [s.kvHeads * s.headDim, s.hidden]);
    all.set(`${layer}.self_attn.o_proj.weight`, [s.hidden, s.heads * s.headDim]);
    all.set(`${layer}.mlp.gate_proj.weight`, [s.ffn, s.hidden]);
    all.set(`${layer}.mlp.up_proj.weight`, [s.ffn, s.hidden]);
    all.set(`${layer}.mlp.down_proj.weight`, [s.hidden, s.ffn]);
    for (const norm of normsOf(s)) all.set(`${layer}.${norm}.weight`, [s.hidden]);
  }
  if (!s.tied) all.set('lm_head.weight', [s.vocab, s.hidden]);
  return all.set('model.norm.weight', [s.hidden]);
}

function config(s: Shape, type: WeightType): Record<string, unknown> {
  return {
    model_type: s.family,
    hidden_size: s.hidden,
    num_hidden_layers: s.layers,
    num_attention_heads: s.heads,
    num_key_value_heads: s.kvHeads,
    head_dim: s.headDim,
    intermediate_size: s.ffn,
    vocab_size: s.vocab,
    max_position_embeddings: 4096,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    tie_word_embeddings: s.tied,
    bos_token_id: 1,
    pad_token_id: 0,
    torch_dtype: type === 'f32' ? 'float32' : 'bfloat16',
  };
}

/** A checkpoint as the compiler sees it. Its file need not exist: see writeWeights. */
export function checkpoint(name: ShapeName, type: WeightType): Checkpoint {
  const shape: Shape = shapes[name];
  const path = join(scratch(), `${name}-${type}.weights`);
  const end = fileBytes(shape, type);
  let at = normBytes(shape, type);
  const stored = [...tensors(shape)].map(([tensor, size]) => {
    const bytes = size.reduce((a, b) => a * b, 1) * bytesOf[type];
    const isNorm = size.length === 1;
    if (!isNorm && at + bytes > end) at = normBytes(shape, type);
    const offset = isNorm ? 0 : at;
    if (!isNorm) at += align(bytes);
    return [tensor, { dtype: type, shape: size, span: { path, offset, bytes } }] as const;
  });
  return { dir: name, config: config(shape, type), generationConfig: {}, tensors: new Map(stored) };
}

/** The weights of all norms, around 1, stand at the start of the file. */
const normBytes = (s: Shape, type: WeightType): number => align(s.hidden * bytesOf[type]);

function fileBytes(s: Shape, type: WeightType): number {
  const sizes = [...tensors(s).values()].map((size) => align(size.reduce((a, b) => a * b, 1) * bytesOf[type]));
  const all = sizes.reduce((a, b) => a + b, 0);
  return normBytes(s, type) + Math.min(all, Math.max(mostBytes, ...sizes));
}

/** Writes the file of a checkpoint, if it is not there yet. Complete or absent: it is renamed into place. */
export function writeWeights(name: ShapeName, type: WeightType): void {
  const path = join(scratch(), `${name}-${type}.weights`);
  if (existsSync(path)) return;
  mkdirSync(scratch(), { recursive: true });
  const normal = normalBlock();
  const norms = encode(
    normal.map((v) => 1 + v),
    type,
  ).subarray(0, normBytes(shapes[name], type));
  const block = encode(normal, type);
  const draft = `${path}.${process.pid}.tmp`;
  const file = openSync(draft, 'w');
  try {
    writeSync(file, norms);
    for (let left = fileBytes(shapes[name], type) - norms.length; left > 0; ) {
      left -= writeSync(file, block, 0, Math.min(left, block.length));
    }
    renameSync(draft, path);
  } finally {
    closeSync(file);
    rmSync(draft, { force: true });
  }
}
