// Mutations of binary files: bits, bytes, numbers of every width, cuts, insertions and parts of other files. And of
// safetensors by the structure: the header is changed as JSON, and its length may lie.
import { hostileNumber } from './hostile-values.ts';
import { mutateTree, printTree } from './json.ts';
import type { Random } from './random.ts';

export function mutateBytes(seed: Uint8Array, random: Random, others: readonly Uint8Array[] = []): Uint8Array {
  let bytes = Buffer.from(seed);
  for (let n = random.few(); n > 0; n--) bytes = changed(bytes, random, others);
  return bytes;
}

function changed(bytes: Buffer, random: Random, others: readonly Uint8Array[]): Buffer<ArrayBuffer> {
  const copy = Buffer.from(bytes);
  const at = random.below(Math.max(1, copy.length));
  switch (random.below(8)) {
    case 0:
      if (copy.length > 0) copy[at] ^= 1 << random.below(8);
      return copy;
    case 1:
    case 2:
      if (copy.length > 0) copy[at] = random.pick([0, 1, 0x7f, 0x80, 0xff, random.below(256)]);
      return copy;
    case 3: {
      const width = random.pick([2, 4, 8]);
      if (at + width > copy.length) return copy;
      const value = BigInt.asUintN(64, BigInt(Math.trunc(Math.min(hostileNumber(random), 2 ** 63))));
      const wide = Buffer.alloc(8);
      wide.writeBigUInt64LE(value);
      wide.copy(copy, at, 0, width);
      return copy;
    }
    case 4:
      return copy.subarray(0, at);
    case 5:
      return Buffer.concat([
        copy.subarray(0, at),
        Buffer.alloc(random.pick([1, 4, 1000]), random.below(256)),
        copy.subarray(at),
      ]);
    case 6:
      return Buffer.concat([copy.subarray(0, at), copy.subarray(at + random.few())]);
    default: {
      const other = others.length > 0 ? Buffer.from(random.pick(others)) : copy;
      const from = random.below(Math.max(1, other.length));
      return Buffer.concat([
        copy.subarray(0, at),
        other.subarray(from, from + 64),
        copy.subarray(at + random.below(64)),
      ]);
    }
  }
}

/** A safetensors file with a changed header, or changed bytes. */
export function mutateSafetensors(seed: Uint8Array, random: Random): Uint8Array {
  if (random.chance(0.3)) return mutateBytes(seed, random);
  const bytes = Buffer.from(seed);
  const length = Number(bytes.readBigUInt64LE(0));
  const header: unknown = JSON.parse(bytes.toString('utf8', 8, 8 + length));
  const text = Buffer.from(printTree(mutateTree(header, random), random));
  const start = Buffer.alloc(8);
  start.writeBigUInt64LE(BigInt(random.chance(0.05) ? random.below(2 * text.length + 2) : text.length));
  return Buffer.concat([start, text, bytes.subarray(8 + length)]);
}
