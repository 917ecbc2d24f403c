// The kinds of attributes that ops have, as data, and the types of their values. A table of kinds (attrs.ts) is the one
// source: types are inferred from it, records check choices against it, and printer and parser of the text walk it, so what
// one writes the other reads, and text from outside can only say what is listed.
import type { Dim } from '../dim.ts';
import type { DType } from '../dtype.ts';

/** `oneOf`: a bare word or number. `either`: the first kind that fits. `variants`: fields by what the field `kind` says. */
export type AttrKind =
  | 'number'
  | 'integer'
  | 'boolean'
  | 'string'
  | 'dtype'
  | 'dim'
  | { readonly oneOf: readonly (string | number)[] }
  | { readonly list: AttrKind }
  | { readonly pair: AttrKind }
  | { readonly fields: AttrKinds }
  | { readonly variants: Readonly<Record<string, AttrKinds>> }
  | { readonly either: readonly AttrKind[] }
  | { readonly optional: AttrKind };

/** Attributes by name, in the order in which they print. */
export type AttrKinds = Readonly<Record<string, AttrKind>>;

/** The values of a kind. */
export type ValueOf<K> = K extends 'number' | 'integer'
  ? number
  : K extends 'boolean'
    ? boolean
    : K extends 'string'
      ? string
      : K extends 'dtype'
        ? DType
        : K extends 'dim'
          ? Dim
          : K extends { readonly oneOf: readonly (infer V)[] }
            ? V
            : K extends { readonly list: infer I }
              ? readonly ValueOf<I>[]
              : K extends { readonly pair: infer I }
                ? readonly [ValueOf<I>, ValueOf<I>]
                : K extends { readonly fields: infer F }
                  ? ValuesOf<F>
                  : K extends { readonly variants: infer V }
                    ? { [N in keyof V]: { readonly kind: N } & ValuesOf<V[N]> }[keyof V]
                    : K extends { readonly either: readonly (infer I)[] }
                      ? ValueOf<I>
                      : never;

type OptionalName<F> = { [N in keyof F]: F[N] extends { readonly optional: unknown } ? N : never }[keyof F];

/** The values of attributes, by name. */
export type ValuesOf<F> = keyof F extends never
  ? Readonly<Record<string, never>>
  : { readonly [N in keyof F as N extends OptionalName<F> ? never : N]: ValueOf<F[N]> } & {
      readonly [N in OptionalName<F>]?: F[N] extends { readonly optional: infer I } ? ValueOf<I> | undefined : never;
    };

/** The fields of all variants as one record, as they are written: which of them belong together is checked with the values. */
export function variantFields(variants: Readonly<Record<string, AttrKinds>>): AttrKinds {
  const all: Record<string, AttrKind> = { kind: { oneOf: Object.keys(variants) } };
  for (const fields of Object.values(variants)) {
    for (const [name, kind] of Object.entries(fields)) {
      all[name] = typeof kind === 'object' && 'optional' in kind ? kind : { optional: kind };
    }
  }
  return all;
}
