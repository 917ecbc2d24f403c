// The largest resident set that this process ever had: what its memory use is judged by.
import { readFileSync } from 'node:fs';

/** In MB (2^20 bytes). Linux counts since the program began; elsewhere since the process did. */
export function peakMemoryMb(): number {
  let kilobytes = process.resourceUsage().maxRSS;
  try {
    const line = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8'));
    if (line) kilobytes = Number(line[1]);
  } catch {
    // not Linux
  }
  return Math.round(kilobytes / 1024);
}
