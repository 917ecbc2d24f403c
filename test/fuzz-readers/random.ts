// Random choices that a text decides: the same text gives the same choices on every machine.
import { randomNumbers } from '../support/random-builder.ts';

export class Random {
  private readonly next: () => number;

  constructor(name: string) {
    let hash = 0x811c9dc5;
    for (const c of name) hash = Math.imul(hash ^ (c.codePointAt(0) ?? 0), 0x01000193);
    this.next = randomNumbers(hash);
  }

  /** An integer of 0 or more, below `end`. */
  below(end: number): number {
    return Math.floor(this.next() * end);
  }
  chance(probability: number): boolean {
    return this.next() < probability;
  }
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)];
  }
  /** 1, and with falling probability more. */
  few(): number {
    let n = 1;
    while (this.chance(0.4)) n++;
    return n;
  }
  list<T>(count: number, item: () => T): T[] {
    return Array.from({ length: count }, item);
  }
}
