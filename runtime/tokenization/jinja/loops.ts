// What `loop` is inside of a loop of a template.
import { bind } from './arguments.ts';
import { TemplateError } from './ast.ts';
import type { Budget } from './budget.ts';
import { equal } from './operations.ts';
import { Callable, Fields, type Given, Undefined, type Value } from './values.ts';

export interface LoopState {
  readonly items: readonly Value[];
  /** Loops around a recursive one, itself among them. */
  readonly depth: number;
  index: number;
  /** What loop.changed() saw last. */
  seen: readonly Value[] | undefined;
}

/** `again`: renders a recursive loop for other items. */
export function loopFields(state: LoopState, again: ((given: Given) => Value) | undefined, budget: Budget): Fields {
  const get = (name: string): Value | undefined => {
    const { items, index, depth } = state;
    switch (name) {
      case 'index':
        return BigInt(index + 1);
      case 'index0':
        return BigInt(index);
      case 'revindex':
        return BigInt(items.length - index);
      case 'revindex0':
        return BigInt(items.length - index - 1);
      case 'first':
        return index === 0;
      case 'last':
        return index === items.length - 1;
      case 'length':
        return BigInt(items.length);
      case 'depth':
        return BigInt(depth);
      case 'depth0':
        return BigInt(depth - 1);
      case 'previtem':
        return index > 0 ? items[index - 1] : new Undefined('', 'there is no previous item');
      case 'nextitem':
        return index + 1 < items.length ? items[index + 1] : new Undefined('', 'there is no next item');
      case 'cycle':
        return new Callable('cycle', ({ args }) => {
          if (args.length === 0) throw new TemplateError('no items for cycling given');
          return args[index % args.length];
        });
      case 'changed':
        return new Callable('changed', (given) => changed(state, given, budget));
    }
    return undefined;
  };
  const call =
    again ??
    ((): never => {
      throw new TemplateError("The loop must have the 'recursive' marker to be called recursively.");
    });
  return new Fields('LoopContext', get, call);
}

function changed(state: LoopState, { args, kwargs }: Given, budget: Budget): boolean {
  bind('changed', { args: [], kwargs }, []);
  const same = state.seen !== undefined && equal(state.seen, args, budget);
  state.seen = args;
  return !same;
}
