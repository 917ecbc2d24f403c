// The safetensors reader and writer, and the opening of checkpoint folders: round trips, and every kind of hostile file.
import { mkdtempSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import {
  fittedModel,
  openCheckpoint,
  readSafetensors,
  readTensor,
  writeSafetensors,
} from '../../frontends/huggingface/index.ts';
import { ModelcError } from '../../ir/error.ts';

const root = mkdtempSync(join(tmpdir(), 'modelc-safetensors-'));
afterAll(() => rm(root, { recursive: true }));
let count = 0;
const folder = (): string => mkdtempSync(join(root, `${count++}-`));

/** A file from header text (or object) and data; `claim` replaces the header length. */
function write(header: unknown, dataBytes = 0, claim?: bigint): string {
  const path = join(folder(), 'model.safetensors');
  const json = Buffer.isBuffer(header)
    ? header
    : Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(claim ?? BigInt(json.length));
  writeFileSync(path, Buffer.concat([length, json, Buffer.alloc(dataBytes)]));
  return path;
}

async function failure(promise: Promise<unknown>): Promise<ModelcError> {
  const error: unknown = await promise.then(
    () => new Error('no error'),
    (e: unknown) => e,
  );
  if (!(error instanceof ModelcError)) throw error;
  expect(error.message).not.toContain('\n');
  return error;
}

const f32 = (begin: number, end: number, shape = [(end - begin) / 4]): object => ({
  dtype: 'F32',
  shape,
  data_offsets: [begin, end],
});

describe('round trip', () => {
  test('dtypes, alignment, metadata and spans', async () => {
    const dir = folder();
    const first = join(dir, 'a.safetensors');
    const big = new Uint8Array(new Float32Array(64).map((_, i) => i * 0.5).buffer);
    await writeSafetensors(first, [
      {
        name: 'odd',
        dtype: 'bf16',
        shape: [3],
        data: new Uint8Array(new Uint16Array([0x3f80, 0xc000, 0x7f80]).buffer),
      },
      { name: 'flags', dtype: 'bool', shape: [2], data: new Uint8Array([0, 1]) },
      { name: 'ids', dtype: 'i64', shape: [1], data: new Uint8Array(new BigInt64Array([-5n]).buffer) },
      { name: 'half', dtype: 'f16', shape: [1], data: new Uint8Array(new Uint16Array([0x3c00]).buffer) },
      { name: 'big', dtype: 'f32', shape: [8, 8], data: big },
      { name: 'none', dtype: 'f32', shape: [0, 4], data: new Uint8Array() },
    ]);
    const file = await readSafetensors(first);
    expect(file.metadata.get('format')).toBe('pt');
    expect(file.tensors.get('big')!.span.offset % 64).toBe(0);
    const values = async (name: string): Promise<number[]> => {
      const t = file.tensors.get(name)!;
      return [...(await readTensor(t.span, t.dtype as 'f32', t.shape)).data];
    };
    expect(await values('odd')).toEqual([1, -2, Number.POSITIVE_INFINITY]);
    expect(await values('flags')).toEqual([0, 1]);
    expect(await values('ids')).toEqual([-5]);
    expect(await values('half')).toEqual([1]);
    expect((await values('big')).slice(0, 3)).toEqual([0, 0.5, 1]);
    expect(await values('none')).toEqual([]);

    const second = join(dir, 'b.safetensors');
    const source = file.tensors.get('big')!;
    await writeSafetensors(second, [{ name: 'copy', dtype: 'f32', shape: [64], data: source.span }]);
    const copy = (await readSafetensors(second)).tensors.get('copy')!;
    expect([...(await readTensor(copy.span, 'f32')).data].slice(-1)).toEqual([31.5]);
  });

  test('the writer refuses data of another size and equal names', async () => {
    const path = join(folder(), 'x.safetensors');
    const a = { name: 'a', dtype: 'f32', shape: [2], data: new Uint8Array(8) } as const;
    expect((await failure(writeSafetensors(path, [{ ...a, shape: [3] }]))).message).toContain('needs 12 bytes, got 8');
    expect((await failure(writeSafetensors(path, [a, a]))).message).toContain('twice');
  });
});

function emptyFile(): string {
  const path = join(folder(), 'empty');
  writeFileSync(path, '');
  return path;
}

describe('hostile files', () => {
  const cases: [what: string, path: () => string, message: RegExp][] = [
    ['a missing file', () => join(root, 'nowhere'), /does not exist/],
    ['an empty file', () => emptyFile(), /truncated/],
    ['a header of 2^60 bytes', () => write('{}', 0, 2n ** 60n), /claims a header of 1152921504606846976 bytes/],
    ['a header that ends after the file', () => write('{}', 0, 50n), /header ends at byte 58, the file at 10/],
    ['a header that is not UTF-8', () => write(Buffer.from([0x7b, 0xff, 0x7d])), /not UTF-8/],
    ['a header that is not JSON', () => write('{"a":'), /not valid JSON/],
    ['a header that is an array', () => write('[]'), /JSON object/],
    [
      'a key twice',
      () => write(`{"a":${JSON.stringify(f32(0, 4))},"\\u0061":${JSON.stringify(f32(0, 4))}}`, 4),
      /'a' twice/,
    ],
    [
      'an inner key twice',
      () => write('{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', 4),
      /'dtype' twice/,
    ],
    ['metadata of numbers', () => write({ __metadata__: { n: 1 } }), /strings to strings/],
    ['a tensor that is a number', () => write({ a: 1 }), /no object/],
    [
      'an unknown dtype',
      () => write({ a: { dtype: 'F31', shape: [1], data_offsets: [0, 4] } }, 4),
      /unknown dtype 'F31'/,
    ],
    [
      'a dtype of Object.prototype',
      () => write({ a: { dtype: 'toString', shape: [1], data_offsets: [0, 4] } }, 4),
      /unknown dtype/,
    ],
    ['a negative size', () => write({ a: f32(0, 4, [-1]) }, 4), /list of at most 64 sizes/],
    ['a fractional size', () => write({ a: f32(0, 4, [0.5, 2]) }, 4), /list of at most 64 sizes/],
    [
      'sizes whose product overflows',
      () => write({ a: f32(0, 4, [2 ** 52, 2 ** 52, 2 ** 52]) }, 4),
      /bits, but 4 bytes/,
    ],
    ['a shape of another size', () => write({ a: f32(0, 8, [3]) }, 8), /96 bits, but 8 bytes/],
    ['offsets beyond the file', () => write({ a: f32(0, 800) }, 8), /lies at 0\.\.800 of the data, which has 8 bytes/],
    ['offsets in reverse', () => write({ a: f32(8, 4, [1]) }, 8), /lies at 8\.\.4/],
    ['three offsets', () => write({ a: { dtype: 'F32', shape: [1], data_offsets: [0, 4, 4] } }, 4), /two positions/],
    ['overlapping tensors', () => write({ a: f32(0, 8), b: f32(4, 12) }, 12), /'b' at byte \d+ overlaps tensor 'a'/],
    ['a hole', () => write({ a: f32(0, 4), b: f32(8, 12) }, 12), /leaves a hole after tensor 'a'/],
    ['data after the last tensor', () => write({ a: f32(0, 4) }, 12), /its tensors end at/],
    ['a control character in a name', () => write({ 'a\n\u001b[31m': f32(0, 800) }, 8), /'a\\n\\u001b\[31m'/],
  ];
  test.each(cases)('%s', async (_, path, message) => {
    const file = path();
    const error = await failure(readSafetensors(file));
    expect(error.code).toBe('checkpoint');
    expect(error.message).toMatch(message);
    expect(error.message).toContain(file);
  });
});

describe('checkpoint folders', () => {
  const config = {
    model_type: 'llama',
    vocab_size: 8,
    hidden_size: 4,
    intermediate_size: 4,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    tie_word_embeddings: true,
  };
  const open = async (files: Record<string, unknown>): Promise<unknown> => {
    const dir = folder();
    for (const [name, content] of Object.entries(files)) {
      writeFileSync(join(dir, name), typeof content === 'string' ? content : JSON.stringify(content));
    }
    return openCheckpoint(dir);
  };
  const cases: [what: string, files: Record<string, unknown>, message: RegExp][] = [
    ['no config', {}, /config\.json does not exist/],
    ['a config that is not JSON', { 'config.json': '{' }, /config\.json is not valid JSON/],
    ['a config that is a list', { 'config.json': [] }, /must hold a JSON object/],
    ['no weights', { 'config.json': config }, /neither model\.safetensors nor/],
    ['only pickled weights', { 'config.json': config, 'pytorch_model.bin': '' }, /pickle/],
    ['an index without a map', { 'config.json': config, 'model.safetensors.index.json': {} }, /no weight_map/],
    ...['../model.safetensors', '/etc/x.safetensors', 'a\\b.safetensors', '..', 'x.bin', 7].map(
      (shard): [string, Record<string, unknown>, RegExp] => [
        `the shard ${shard}`,
        { 'config.json': config, 'model.safetensors.index.json': { weight_map: { a: shard } } },
        /a shard is a \.safetensors file in the same folder/,
      ],
    ),
    [
      'a missing shard',
      { 'config.json': config, 'model.safetensors.index.json': { weight_map: { a: 'model-1.safetensors' } } },
      /model-1\.safetensors does not exist/,
    ],
  ];
  test.each(cases)('%s', async (_, files, message) => {
    expect((await failure(open(files))).message).toMatch(message);
  });
  test('no folder', async () => {
    expect((await failure(openCheckpoint(join(root, 'nowhere')))).message).toMatch(/nowhere does not exist/);
  });

  test('shards are joined; a tensor that its shard lacks is an error', async () => {
    const dir = folder();
    writeFileSync(join(dir, 'config.json'), JSON.stringify(config));
    const data = new Uint8Array(4);
    await writeSafetensors(join(dir, 'one.safetensors'), [{ name: 'a', dtype: 'f32', shape: [1], data }]);
    await writeSafetensors(join(dir, 'two.safetensors'), [{ name: 'b', dtype: 'f32', shape: [1], data }]);
    const index = (map: object): void =>
      writeFileSync(join(dir, 'model.safetensors.index.json'), JSON.stringify({ weight_map: map }));
    index({ a: 'one.safetensors', b: 'two.safetensors' });
    expect([...(await openCheckpoint(dir)).tensors.keys()]).toEqual(['a', 'b']);
    index({ a: 'two.safetensors' });
    expect((await failure(openCheckpoint(dir))).message).toMatch(/two\.safetensors lacks tensor 'a'/);
  });

  const broken: [what: string, config: object, message: RegExp][] = [
    [
      'an unknown architecture',
      { model_type: 'nothing' },
      /model_type 'nothing', which is not known; supported: .*\bllama\b/,
    ],
    ['no architecture', { model_type: undefined }, /supported: .*\bllama\b/],
    ['an architecture of Object.prototype', { model_type: 'constructor' }, /not known/],
    ['a quantized checkpoint', { quantization_config: {} }, /quantization_config/],
    ['a size that is a string', { hidden_size: '4' }, /hidden_size must be a positive integer, found "4"/],
    ['heads that do not divide', { num_attention_heads: 3 }, /hidden_size must be a multiple of num_attention_heads 3/],
    [
      'groups that do not divide',
      { num_attention_heads: 4, num_key_value_heads: 3 },
      /multiple of num_key_value_heads 3/,
    ],
    ['an unknown activation', { hidden_act: 'toString' }, /hidden_act must be one of gelu/],
    [
      'an unknown rope_type',
      { rope_scaling: { type: 'spiral', factor: 2 } },
      /unknown rope_type 'spiral'; known: default/,
    ],
    [
      'a scaling without its factor',
      { rope_scaling: { rope_type: 'linear' } },
      /rope_scaling: factor must be a positive number/,
    ],
    [
      'a longrope list of wrong length',
      { rope_scaling: { type: 'longrope', short_factor: [1, 1], long_factor: [1] } },
      /list of 1 positive/,
    ],
    ['an odd head', { head_dim: 3 }, /even number/],
  ];
  test.each(broken)('%s', async (_, change, message) => {
    const dir = folder();
    writeFileSync(join(dir, 'config.json'), JSON.stringify({ ...config, ...change }));
    await writeSafetensors(join(dir, 'model.safetensors'), []);
    const checkpoint = await openCheckpoint(dir);
    const error = await failure((async () => fittedModel(checkpoint, 'causal-lm'))());
    expect(error.message).toMatch(message);
    expect(error.message).toContain(dir);
  });
});
