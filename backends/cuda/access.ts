// Wide memory access: 16, 8 or 4 bytes of memory as 32-bit words, and the lanes that they hold. Which width an access
// can have follows from what divides its index: buffers, arena slots and shared arrays start at multiples of 16 bytes.
import type { DType } from '../../ir/dtype.ts';
import { dtypeInfo } from '../../ir/dtype.ts';
import { memoryType } from '../c/types.ts';

const wordNames = ['x', 'y', 'z', 'w'];
const wordType = (bytes: number): string => (bytes === 4 ? 'u32' : `uint${bytes / 4}`);

/** The value of lane `lane` of dtype in 32-bit words. */
function extract(dtype: DType, words: readonly string[], lane: number): string {
  const { bytes } = dtypeInfo[dtype];
  if (bytes === 8) return `((i64)((u64)${words[2 * lane + 1]} << 32 | ${words[2 * lane]}))`;
  const word = words[(lane * bytes) >> 2];
  const shift = (lane * bytes * 8) % 32;
  const low = shift === 0 ? word : `(${word} >> ${shift})`;
  if (dtype === 'f32') return `__uint_as_float(${word})`;
  if (dtype === 'bool') return `((${low} & 0xffu) != 0)`;
  return `((${memoryType(dtype)})${low})`;
}

/** 32-bit words that hold the values of lanes. */
function pack(dtype: DType, values: readonly string[]): string[] {
  const { bytes } = dtypeInfo[dtype];
  if (bytes === 8) return values.flatMap((v) => [`(u32)${v}`, `(u32)((u64)${v} >> 32)`]);
  if (dtype === 'f32') return values.map((v) => `__float_as_uint(${v})`);
  if (bytes === 4) return values.map((v) => `(u32)${v}`);
  const perWord = 4 / bytes;
  const unsigned = bytes === 2 ? 'u16' : 'u8';
  return Array.from({ length: values.length / perWord }, (_, w) =>
    Array.from({ length: perWord }, (_, i) => {
      const value = `(u32)(${unsigned})${values[w * perWord + i]}`;
      return i === 0 ? value : `${value} << ${i * bytes * 8}`;
    }).join(' | '),
  );
}

/** Statements that load `lanes` elements at pointer + index in pieces of `width` bytes, and the lanes' values. */
export function loadLanes(
  pointer: string,
  index: string,
  dtype: DType,
  lanes: number,
  width: number,
  name: string,
): { lines: string[]; lanes: string[] } {
  const { bytes } = dtypeInfo[dtype];
  const type = memoryType(dtype);
  const lines: string[] = [];
  if (width === 0) {
    const values = Array.from({ length: lanes }, (_, lane) => {
      lines.push(`const ${type} ${name}_${lane} = ${pointer}[${index}${lane === 0 ? '' : ` + ${lane}`}];`);
      return dtype === 'bool' ? `(${name}_${lane} != 0)` : `${name}_${lane}`;
    });
    return { lines, lanes: values };
  }
  const words: string[] = [];
  for (let at = 0; at < lanes * bytes; at += width) {
    const piece = `${name}_${at / width}`;
    const place = `${pointer} + ${index}${at === 0 ? '' : ` + ${at / bytes}`}`;
    lines.push(`const ${wordType(width)} ${piece} = *(const ${wordType(width)} *)(${place});`);
    words.push(...(width === 4 ? [piece] : wordNames.slice(0, width / 4).map((w) => `${piece}.${w}`)));
  }
  return { lines, lanes: Array.from({ length: lanes }, (_, lane) => extract(dtype, words, lane)) };
}

/** Statements that store the values of lanes at pointer + index in pieces of `width` bytes. */
export function storeLines(
  pointer: string,
  index: string,
  dtype: DType,
  values: readonly string[],
  width: number,
): string[] {
  const { bytes } = dtypeInfo[dtype];
  const place = (lane: number): string => `${index}${lane === 0 ? '' : ` + ${lane}`}`;
  if (width === 0) return values.map((v, lane) => `${pointer}[${place(lane)}] = ${v};`);
  const words = pack(dtype, values);
  const perPiece = width / 4;
  return Array.from({ length: words.length / perPiece }, (_, i) => {
    const piece = words.slice(i * perPiece, (i + 1) * perPiece);
    const value = perPiece === 1 ? piece[0] : `make_uint${perPiece}(${piece.join(', ')})`;
    return `*(${wordType(width)} *)(${pointer} + ${place((i * width) / bytes)}) = ${value};`;
  });
}
