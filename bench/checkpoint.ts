// Writes Llama checkpoints of real shapes with random weights, once, in a scratch folder. The values are a block of
// normal numbers that every tensor reads from another place: cheap to make, and neither zero nor constant, since
// hardware is faster on zeros. Tensors are streamed, so that writing 5 GB takes little memory.
import { closeSync, existsSync, mkdirSync, openSync, renameSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bytesOf, type Shape, type ShapeName, shapes, type WeightType } from './shapes.ts';

export const scratch = (): string => process.env.MODELC_BENCH_DIR ?? join(tmpdir(), 'modelc-bench');

const blockSize = (1 << 20) + 7;

/** Normal(0, 0.02) numbers by Box and Muller over a xorshift generator. */
function normalBlock(): Float32Array {
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

export function tensors(s: Shape): Map<string, number[]> {
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
    all.set(`${layer}.input_layernorm.weight`, [s.hidden]);
    all.set(`${layer}.post_attention_layernorm.weight`, [s.hidden]);
  }
  return all.set('model.norm.weight', [s.hidden]);
}

export function config(s: Shape, type: WeightType): object {
  return {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    hidden_size: s.hidden,
    num_hidden_layers: s.layers,
    num_attention_heads: s.heads,
    num_key_value_heads: s.kvHeads,
    head_dim: s.headDim,
    intermediate_size: s.ffn,
    vocab_size: s.vocab,
    max_position_embeddings: 2048,
    hidden_act: 'silu',
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    tie_word_embeddings: true,
    bos_token_id: 1,
    pad_token_id: 0,
    torch_dtype: type === 'f32' ? 'float32' : 'bfloat16',
  };
}

/** The folder of the checkpoint, written if it is not there yet. Complete or absent: it is renamed into place. */
export function checkpoint(name: ShapeName, type: WeightType): string {
  const folder = join(scratch(), `${name}-${type}`);
  if (existsSync(folder)) return folder;
  const shape: Shape = shapes[name];
  const draft = `${folder}.${process.pid}.tmp`;
  mkdirSync(draft, { recursive: true });
  try {
    writeFileSync(join(draft, 'config.json'), JSON.stringify(config(shape, type), null, 2));
    writeWeights(join(draft, 'model.safetensors'), tensors(shape), type);
    renameSync(draft, folder);
  } finally {
    rmSync(draft, { recursive: true, force: true });
  }
  return folder;
}

function writeWeights(path: string, all: Map<string, number[]>, type: WeightType): void {
  const header: Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }> = {};
  let end = 0;
  for (const [name, shape] of all) {
    const start = end;
    end += shape.reduce((a, b) => a * b, 1) * bytesOf[type];
    header[name] = { dtype: type.toUpperCase(), shape, data_offsets: [start, end] };
  }
  const text = JSON.stringify(header);
  const json = Buffer.from(text.padEnd(Math.ceil((text.length + 8) / 64) * 64 - 8));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(json.length));
  const normal = normalBlock();
  const matrix = encode(normal, type);
  const norm = encode(
    normal.map((v) => 1 + v),
    type,
  );
  const file = openSync(path, 'w');
  try {
    writeSync(file, size);
    writeSync(file, json);
    let seed = 0;
    for (const { shape, data_offsets } of Object.values(header)) {
      const block = shape.length === 1 ? norm : matrix;
      let at = ((seed++ * 7919 * 64) % blockSize) * bytesOf[type];
      for (let left = data_offsets[1] - data_offsets[0]; left > 0; ) {
        const written = writeSync(file, block, at, Math.min(left, block.length - at));
        left -= written;
        at = (at + written) % block.length;
      }
    }
  } finally {
    closeSync(file);
  }
}
