// Runs that follow one another bind the same buffers, hundreds in a model, and checking their sizes takes longer than
// launching a run: what was checked is remembered with the bindings, as long as no dim that a shape names changes.
import type { Plan, Program } from '../ir/program.ts';
import type { Bindings } from './device.ts';

export class CheckedBindings<T> {
  private readonly known = new WeakMap<Bindings, { readonly plan: Plan; readonly sizes: string; readonly bound: T }>();
  private readonly names = new Map<Plan, readonly string[]>();

  constructor(private readonly program: Program) {}

  /** What `check` gave for these bindings in a run of the same entry and sizes, or gives now. */
  get(plan: Plan, bindings: Bindings, dims: ReadonlyMap<string, number>, check: () => T): T {
    const names = this.names.get(plan) ?? this.sizeNames(plan);
    const sizes = names.map((name) => dims.get(name)).join();
    const known = this.known.get(bindings);
    if (known?.plan === plan && known.sizes === sizes) return known.bound;
    const bound = check();
    this.known.set(bindings, { plan, sizes, bound });
    return bound;
  }

  /** The dims that shapes name. */
  private sizeNames(plan: Plan): readonly string[] {
    const { weights, constants, states } = this.program;
    const shapes = [...weights, ...constants, ...states, ...plan.inputs, ...plan.results].flatMap((t) => t.shape);
    const used = new Set(shapes.flatMap((d) => Object.keys(d)).flatMap((monomial) => monomial.split('*')));
    const names = plan.dims.map((d) => d.name).filter((name) => used.has(name));
    this.names.set(plan, names);
    return names;
  }
}
