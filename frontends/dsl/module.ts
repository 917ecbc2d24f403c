// Module: a piece of a model. Its fields that are Modules, Parameters or arrays of them are its state dict, and a field's
// path is the name of the weight in the checkpoint ('model.layers.0.self_attn.q_proj.weight'), as in PyTorch. A Parameter
// gets a graph node only when a trace binds it and its value is asked for, so a weight that no computation uses is never
// looked up, and one Parameter object held at two paths is one weight under the first of them (weight tying).
import type { DimLike } from '../../ir/dim.ts';
import { dim } from '../../ir/dim.ts';
import type { DType } from '../../ir/dtype.ts';
import { ModelcError } from '../../ir/error.ts';
import { type Initializer, type InitialRandom, normal } from './initializers.ts';
import { withScope } from './scope.ts';
import { op, type Tensor } from './tensor.ts';

/** A weight that is stored in one dtype and kept in another while the model runs. */
export interface KeptWeight {
  /** What the checkpoint has. */
  readonly stored: DType;
  /** What it is converted to when it is loaded. */
  readonly kept: DType;
}

/**
 * Says in which dtype a weight is stored; throws ModelcError 'checkpoint' if there is none of that name and shape. `dtype`:
 * the one that it must be stored in; without it, any type of floats will do.
 */
export type WeightResolver = (name: string, shape: readonly number[], dtype?: DType) => DType | KeptWeight;

/** How many Parameters may still be made, and what is thrown beyond that. */
let budget: { left: number; readonly excess: () => Error } | undefined;

/** Runs `make`, which may make `limit` Parameters: what asks for more comes from outside, and could ask for ever. */
export function withParameterLimit<T>(limit: number, excess: () => Error, make: () => T): T {
  const outer = budget;
  budget = { left: limit, excess };
  try {
    return make();
  } finally {
    budget = outer;
  }
}

/** A learned tensor: a weight of the checkpoint or, where it is trained, a state in f32 that begins as that weight. */
export class Parameter {
  #bound: { name: string; resolve: WeightResolver; isTrained: boolean } | undefined;

  constructor(
    /** Sizes of the axes. */
    readonly shape: readonly number[],
    /** Its values in a new model. */
    readonly initializer: Initializer = normal(),
    /** What it is stored in, where that is no type of floats: packed codes are u8, i32 or u32. */
    readonly dtype?: DType,
  ) {
    if (budget && --budget.left < 0) throw budget.excess();
    if (!shape.every((size) => Number.isSafeInteger(size) && size > 0)) {
      throw new ModelcError('input', `a weight has positive integers as its shape, not [${shape.join(', ')}]`);
    }
  }

  /** The weight as it is stored, or in the dtype that it is kept in. */
  get stored(): Tensor {
    if (!this.#bound)
      throw new ModelcError('input', 'a Parameter was used outside trace(), or is no field of the model');
    const { name, resolve, isTrained } = this.#bound;
    const shape = this.shape.map((d: DimLike) => dim(d));
    const found = resolve(name, this.shape, this.dtype);
    if (isTrained)
      return op('param', [], { name, kind: 'state', dtype: 'f32', shape, role: { kind: 'train', of: name } });
    const { stored, kept } = typeof found === 'string' ? { stored: found, kept: found } : found;
    const weight = op('param', [], { name, kind: 'weight', dtype: stored, shape });
    return kept === stored ? weight : op('mark', [weight.cast(kept)], { prepare: true });
  }

  /** The weight in f32, the dtype of computation. */
  get value(): Tensor {
    return this.stored.cast('f32');
  }

  /** For trace(): the name and the checkpoint that this parameter stands for, until it is bound again. */
  bind(name: string, resolve: WeightResolver, isTrained = false): void {
    this.#bound = { name, resolve, isTrained };
  }
}

/** A tensor of the checkpoint that training leaves as it is. */
export class FixedParameter extends Parameter {}

/** A table that the model computes when it is built, such as rotary frequencies; no part of the checkpoint. */
export class Constant {
  #name: string | undefined;

  constructor(
    /** The values, row-major, f32. */
    readonly data: Float32Array,
    /** Sizes of the axes; default: one axis. */
    readonly shape: readonly number[] = [data.length],
  ) {}

  /** The table as a tensor of the graph, f32. Throws ModelcError 'input' outside of trace(). */
  get value(): Tensor {
    if (this.#name === undefined) {
      throw new ModelcError('input', 'a Constant was used outside trace(), or is no field of the model');
    }
    return op('param', [], { name: this.#name, kind: 'constant', dtype: 'f32', shape: this.shape.map((d) => dim(d)) });
  }

  /** For trace(): the name that this table has in the graph, until it is bound again. */
  bind(name: string): void {
    this.#name = name;
  }
}

/** Prototypes whose methods run within their module. */
const scoped = new WeakSet<object>();

/** Has all methods of a class, and of those that it extends up to Module, run within their module. */
function scopeMethods(prototype: object): void {
  if (prototype === Module.prototype || scoped.has(prototype)) return;
  scoped.add(prototype);
  for (const [name, descriptor] of Object.entries(Object.getOwnPropertyDescriptors(prototype))) {
    const method: unknown = descriptor.value;
    if (name === 'constructor' || typeof method !== 'function') continue;
    Object.defineProperty(prototype, name, {
      ...descriptor,
      value(this: unknown, ...args: unknown[]): unknown {
        const run = (): unknown => Reflect.apply(method, this, args);
        return this instanceof Module ? this.within(run) : run();
      },
    });
  }
  scopeMethods(Object.getPrototypeOf(prototype) as object);
}

/**
 * Base class of layers and models.
 *
 *     class FeedForward extends Module {
 *       up = new Linear(64, 256)
 *       down = new Linear(256, 64)
 *
 *       forward(x: Tensor): Tensor {
 *         return this.down.forward(relu(this.up.forward(x)))
 *       }
 *     }
 */
export abstract class Module {
  #path = '';

  /** Path from the root of the model that was traced last. */
  get path(): string {
    return this.#path;
  }

  constructor() {
    scopeMethods(Object.getPrototypeOf(this) as object);
  }

  /** Runs a method: what it computes has this module's path as its origin, and its errors name the path. */
  within<T>(body: () => T): T {
    return withScope(this.#path, this.constructor.name, body);
  }

  /** This module and all below it, by path. */
  modules(prefix = ''): Map<string, Module> {
    const found = new Map<string, Module>();
    const seen = new Set<object>();
    const visit = (value: unknown, path: string): void => {
      if (Array.isArray(value)) {
        value.forEach((child, i) => {
          visit(child, `${path}.${i}`);
        });
      }
      if (!(value instanceof Module) || seen.has(value)) return;
      seen.add(value);
      found.set(path, value);
      for (const [field, child] of Object.entries(value)) visit(child, path === '' ? field : `${path}.${field}`);
    };
    visit(this, prefix);
    return found;
  }

  /** Parameters and constants of this module and all below it, by path, in field order. */
  named(prefix = ''): Map<string, Parameter | Constant> {
    const found = new Map<string, Parameter | Constant>();
    const seen = new Set<object>();
    const visit = (value: unknown, path: string): void => {
      if (typeof value !== 'object' || value === null || seen.has(value)) return;
      if (value instanceof Parameter || value instanceof Constant) {
        seen.add(value);
        if (found.has(path)) throw new ModelcError('input', `two parameters have the path '${path}': rename a field`);
        found.set(path, value);
      } else if (value instanceof Module) {
        seen.add(value);
        value.#path = path;
        for (const [field, child] of Object.entries(value)) visit(child, path === '' ? field : `${path}.${field}`);
      } else if (Array.isArray(value)) {
        seen.add(value);
        value.forEach((child, i) => {
          visit(child, `${path}.${i}`);
        });
      }
    };
    visit(this, prefix);
    return found;
  }
}

/** Every path at which a model holds a Parameter, by the first of them: more than one where weights are tied. */
export function pathsOf(model: Module): Map<string, string[]> {
  const paths = new Map<Parameter, string[]>();
  const visit = (value: unknown, path: string, above: readonly unknown[]): void => {
    if (value instanceof Parameter) {
      const known = paths.get(value) ?? [];
      known.push(path);
      paths.set(value, known);
    } else if ((value instanceof Module || Array.isArray(value)) && !above.includes(value)) {
      const fields = Array.isArray(value) ? value.entries() : Object.entries(value);
      for (const [field, child] of fields)
        visit(child, path === '' ? `${field}` : `${path}.${field}`, [...above, value]);
    }
  };
  visit(model, '', []);
  return new Map([...paths.values()].map((all) => [all[0], all]));
}

class Group extends Module {}

/** A module that does nothing but give its fields a common path. */
export const group = <T extends object>(fields: T): Module & T => Object.assign(new Group(), fields);

/** What a field of a module may hold of it. */
export type Members = Readonly<Record<string, Module | readonly Module[] | undefined>>;

/** `members` below a path ('model.decoder') whose names are data: the field to give to a module. */
export const moduleTree = (path: string, members: Members): Members =>
  path.split('.').reduceRight<Members>((inner, name) => ({ [name]: group(inner) }), members);

/**
 * The initial values of parameters by path, drawn in their order. `uniform` gives numbers of [0, 1); two of them become a
 * normal number (Box and Muller, 1958). `range`: transformers' initializer_range.
 */
export function drawValues(
  parameters: ReadonlyMap<string, Parameter>,
  uniform: () => number,
  range: number,
): Map<string, Float32Array> {
  const normalNumber = (): number => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  const random: InitialRandom = { uniform, normal: normalNumber, range };
  return new Map([...parameters].map(([path, { shape, initializer }]) => [path, initializer(shape, random)]));
}

/** The initial values of all parameters of a model, in the order of its fields. */
export function initialValues(model: Module, uniform: () => number, range = 0.02): Map<string, Float32Array> {
  const fields = [...model.named()].flatMap(([path, f]) => (f instanceof Parameter ? [[path, f] as const] : []));
  return drawValues(new Map(fields), uniform, range);
}
