// The arguments of Python's functions: taken by place or by name, as their signatures say.
import { TemplateError } from './ast.ts';
import { type Given, typeName, Undefined, type Value } from './values.ts';

/** The values of parameters `names`, of which the first `needed` must be given; undefined for the others. */
export function bind(
  call: string,
  { args, kwargs }: Given,
  names: readonly string[],
  needed = 0,
): (Value | undefined)[] {
  if (args.length > names.length) {
    throw new TemplateError(`${call}() takes at most ${names.length} arguments, but ${args.length} are given`);
  }
  for (const name of kwargs.keys()) {
    const place = names.indexOf(name);
    if (place < 0) throw new TemplateError(`${call}() got an unexpected keyword argument '${name}'`);
    if (place < args.length) throw new TemplateError(`${call}() got multiple values for argument '${name}'`);
  }
  return names.map((name, i) => {
    const value = i < args.length ? args[i] : kwargs.get(name);
    if (value === undefined && i < needed) throw new TemplateError(`${call}() needs the argument '${name}'`);
    return value;
  });
}

export function textArgument(call: string, value: Value | undefined): string {
  if (typeof value === 'string') return value;
  if (value instanceof Undefined) value.fail();
  throw new TemplateError(`${call}() needs a str, not ${value === undefined ? 'nothing' : typeName(value)}`);
}

/** An int, or a boolean, which counts as one; `otherwise` where it is not given. */
export function intArgument(call: string, value: Value | undefined, otherwise: number): number {
  if (value === undefined) return otherwise;
  if (typeof value === 'bigint' || typeof value === 'boolean') return Number(value);
  if (value instanceof Undefined) value.fail();
  throw new TemplateError(`${call}() needs an int, not ${typeName(value)}`);
}
