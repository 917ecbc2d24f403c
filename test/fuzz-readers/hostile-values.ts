// Values that readers trip over, as JSON and as text.
import type { Random } from './random.ts';

/** Text that is written into JSON as it stands: what JSON.stringify cannot write. */
export class Raw {
  constructor(readonly text: string) {}
}

export const names = [
  '__proto__',
  'constructor',
  'toString',
  'hasOwnProperty',
  'length',
  'prototype',
  '',
  '0',
  '-1',
  'then',
];

const numbers = [
  0, -0, 1, -1, 2, 3, 0.5, -0.5, 1e-320, 64, 255, 256, 1000, 65_535, 65_536, 1e6, 1e8, 1e9, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1,
  2 ** 32, 2 ** 53 - 1, 2 ** 53, -(2 ** 53), 1e21, 1e300,
]; // biome-ignore format: one list
const rawNumbers = [
  'NaN',
  'Infinity',
  '-Infinity',
  '1e999',
  '-1e999',
  '1.0',
  '1E0',
  '18446744073709551616',
  '00',
  '0x10',
];
const texts = [
  ...names, ' ', 'a', 'none', 'null', 'true', '../../etc/passwd', '/dev/zero', '/dev/stdin', '.', '..', 'a/b', 'C:\\x', 'x\0y',
  '\ud800', '\udfff', '\u202eabc', '\u001b[31mred', '\u0007', '\r\n', '\ufeff', 'é', '龖', '🙂', '%s%n', '{{ 7 * 7 }}',
  "'", '"', '\\', '(a+)+$', '[', '(?<x', '\\', '*', '$1', '\\p{L}', '(?i:a)', ',', ';', '-',
]; // biome-ignore format: one list

export const hostileText = (random: Random): string =>
  random.chance(0.04)
    ? random.pick(['a', '(', '龖', '\u001b', ' ']).repeat(random.pick([1000, 100_000]))
    : random.pick(texts);

export const hostileNumber = (random: Random): number => random.pick(numbers);

/** A value of any kind. */
export function hostileValue(random: Random): unknown {
  switch (random.below(9)) {
    case 0:
    case 1:
    case 2:
      return hostileNumber(random);
    case 3:
      return new Raw(random.pick(rawNumbers));
    case 4:
    case 5:
      return hostileText(random);
    case 6:
      return random.pick([null, true, false, [], {}]);
    case 7:
      return random.list(random.pick([1, 2, 3, 40]), () =>
        random.pick([hostileNumber(random), hostileText(random), null]),
      );
    default:
      return random.chance(0.3)
        ? nested(random)
        : { [random.pick(names)]: hostileNumber(random), a: hostileText(random) };
  }
}

/** Deeper than recursion goes, or only deep. */
function nested(random: Random): Raw {
  const depth = random.pick([50, 3000, 100_000]);
  const [open, close, core] = random.pick([
    ['[', ']', ''],
    ['{"a":', '}', '1'],
  ]);
  return new Raw(open.repeat(depth) + core + close.repeat(depth));
}
