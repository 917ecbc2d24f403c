// How close is close: comparison of tensors with an oracle's, and the record of one case.
import type { TensorData } from '../tensors/host-tensor.ts';

/** Largest |got - want|, relative to the largest |want|. NaN anywhere, or another size, is infinitely far. */
export function relativeError(got: TensorData, want: TensorData): number {
  if (got.length !== want.length) return Number.POSITIVE_INFINITY;
  let worst = 0;
  let scale = 0;
  for (let i = 0; i < want.length; i++) {
    const difference = Math.abs(Number(got[i]) - Number(want[i]));
    if (!(difference <= worst)) worst = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference;
    scale = Math.max(scale, Math.abs(Number(want[i])));
  }
  return worst === 0 ? 0 : worst / (scale || 1);
}

/** What became of one case: its checks, the worst error among them, and what was left out. */
export class CaseReport {
  readonly failures: string[] = [];
  readonly left: string[] = [];
  /** Lines about single results, printed below the case. */
  readonly lines: string[] = [];
  checks = 0;
  worst = 0;
  worstName = '';

  /** A number that must not exceed `tolerance`. */
  error(name: string, error: number, tolerance: number): void {
    this.checks++;
    if (!(error <= this.worst)) {
      this.worst = error;
      this.worstName = name;
    }
    if (!(error <= tolerance)) this.failures.push(`${name} is off by ${error.toExponential(1)}`);
  }

  /** A result of a training, printed beside what was wanted; `isFloor`: more than that is right, too. */
  figure(name: string, got: number, want: number, margin: number, { isFloor = false } = {}): void {
    this.checks++;
    const isRight = isFloor ? got >= want - margin : Math.abs(got - want) <= margin;
    const text = `${name}: want ${want.toFixed(4)}, got ${got.toFixed(4)}, margin ${margin}`;
    this.lines.push(text);
    if (!isRight) this.failures.push(text);
  }

  /** Two sequences that must be the same. */
  same(name: string, got: readonly number[], want: readonly number[]): void {
    this.checks++;
    const at = want.findIndex((v, i) => got[i] !== v);
    const first = at < 0 && got.length !== want.length ? Math.min(got.length, want.length) : at;
    if (first >= 0) this.failures.push(`${name} differs at ${first}: ${got[first]} instead of ${want[first]}`);
  }

  sameText(name: string, got: string, want: string): void {
    this.checks++;
    if (got !== want) this.failures.push(`${name} is ${JSON.stringify(got.slice(0, 60))}`);
  }

  /** A part of the case that this build cannot run; named in the output. */
  leaveOut(name: string): void {
    this.left.push(name);
  }
}
