// Programs come from files as well as from the compiler: what is wrong in one is refused before it is printed or run.
import { ModelcError } from '../ir/error.ts';

export function malformed(problem: string): ModelcError {
  return new ModelcError('type', `malformed program: ${problem.slice(0, 200)}`);
}

/** Checks a number of the program before it is printed as an integer. */
export function integer(value: number, what: string): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value)) throw malformed(`${what} must be an integer`);
  return value;
}
