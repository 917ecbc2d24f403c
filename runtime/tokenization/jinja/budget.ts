// What a template may cost: a template comes from a checkpoint, so it must not run for ever or fill the memory. Work is
// counted while it is done, and large values before they are made.
import { TemplateError } from './ast.ts';

const maxSteps = 3_000_000;
/** Characters of one text. */
const maxText = 2 ** 22;
/** Characters of all texts that are made whole; what `~` and `+` join is shared and costs a step. */
const maxMade = 2 ** 24;
const maxDepth = 600;
/** Digits of an int that is written, as in Python. */
const maxDigits = 4300;
const maxBits = 16_384;

/** Milliseconds: for what the counts take for cheaper than it is. */
const maxTime = 1500;

const tooMuch = (what: string): TemplateError => new TemplateError(`it ${what}`, 'limit');

const kilo = (n: number): string => n.toLocaleString('en-US').replaceAll(',', ' ');

export class Budget {
  private readonly deadline = performance.now() + maxTime;
  private calls = 0;
  private steps = 0;
  private characters = 0;
  private depth = 0;

  /** Counts steps: nodes that are evaluated and items of lists. */
  spend(steps: number): void {
    this.steps += steps;
    if (this.steps > maxSteps) throw tooMuch(`takes more than ${kilo(maxSteps)} steps`);
    if (++this.calls % 256 === 0 && performance.now() > this.deadline) {
      throw tooMuch(`takes more than ${maxTime / 1000} seconds`);
    }
  }

  /** Counts the steps of looking through a text. */
  scan(text: string): void {
    if (text.length > 256) this.spend(text.length >> 2);
  }

  /** Refuses a text of this length before it is made, or counts it. */
  room(length: number): void {
    if (length > maxText) throw tooMuch(`makes a text of more than ${kilo(maxText)} characters`);
    this.characters += length;
    this.spend(length >> 2);
    if (this.characters > maxMade) throw tooMuch(`makes texts of more than ${kilo(maxMade)} characters`);
  }

  made(text: string): string {
    this.room(text.length);
    return text;
  }

  /** Two texts after one another; the parts are shared, so that only the length of the result is limited. */
  append(a: string, b: string): string {
    this.spend(1);
    if (a.length + b.length > maxText) this.room(a.length + b.length);
    return a + b;
  }

  join(parts: readonly string[], between: string): string {
    let length = between.length * Math.max(0, parts.length - 1);
    for (const part of parts) length += part.length;
    this.spend(parts.length);
    this.room(length);
    return parts.join(between);
  }

  repeat(text: string, count: number): string {
    if (count <= 0 || text === '') return '';
    this.room(text.length * count);
    return text.repeat(count);
  }

  /** An int that arithmetic made. */
  int(value: bigint): bigint {
    // Beyond 64 bits, digits tell the size; a product of two that fit is still cheap to look at.
    if (BigInt.asIntN(64, value) !== value && value.toString(16).length * 4 > maxBits) {
      throw tooMuch(`makes an integer of more than ${kilo(maxBits)} bits`);
    }
    return value;
  }

  /** Refuses an int of this size before it is made. */
  bits(count: number): void {
    if (count > maxBits) throw tooMuch(`makes an integer of more than ${kilo(maxBits)} bits`);
  }

  digits(value: bigint): string {
    const digits = String(value);
    if (digits.length > maxDigits) throw tooMuch(`writes an integer of more than ${maxDigits} digits`);
    return digits;
  }

  /** What a function gives, one level deeper. */
  nested<T>(work: () => T): T {
    if (++this.depth > maxDepth) throw tooMuch(`nests calls and blocks more than ${maxDepth} deep`);
    try {
      return work();
    } finally {
      this.depth--;
    }
  }
}
