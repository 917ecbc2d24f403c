// Integers of files: numbers where numbers hold them exactly, and bigints beyond. No reader rounds one.

/** The integer that a text writes in decimal digits. */
export function exactInteger(text: string): number | bigint {
  const value = Number(text);
  if (Number.isSafeInteger(value)) return value === 0 ? 0 : value;
  return BigInt(text.startsWith('+') ? text.slice(1) : text);
}
