// One adapter out of several, each with a weight, as PEFT's add_weighted_adapter makes it:
//   cat              the factors side by side: exactly the weighted sum, its rank that of all together
//   svd              the weighted sum of the products, cut to the largest singular values
//   linear           the sums of the A and of the B, each weighted by the root of the weight: rough, and of one rank
//   magnitude_prune  as linear, of the largest values only
//   ties             as magnitude_prune, and where signs differ only those of the majority (Yadav et al. 2023)
//   dare_linear, dare_ties   with values dropped at random instead (Yu et al. 2023)
// and …_svd: the same of the products, cut as in svd.
import { ModelcError } from '../../ir/error.ts';
import { checkOptions } from '../../ir/options.ts';
import { RandomStream } from '../generation/random.ts';
import type { HostTensor } from '../tensors/host-tensor.ts';
import { type Adapter, tensorFor } from './adapter.ts';
import type { Adapters } from './adapters.ts';
import { combine, firstRows, type Matrix, matrix, scaleRows, svd, transposed } from './linear-algebra.ts';
import { deltaOf } from './merge.ts';
import { f32Tensor, outByIn } from './weights.ts';

const rules = ['linear', 'ties', 'dare_linear', 'dare_ties', 'magnitude_prune'] as const;
type Rule = (typeof rules)[number];
/** How add_weighted_adapter combines: names are those of PEFT. */
export type CombinationType = Rule | 'cat' | 'svd' | `${Exclude<Rule, 'linear'>}_svd` | 'dare_linear_svd';
const kinds: readonly CombinationType[] = ['svd', 'cat', ...rules, 'ties_svd', 'dare_linear_svd', 'dare_ties_svd', 'magnitude_prune_svd']; // biome-ignore format: one row

/** Options of add_weighted_adapter. */
export interface CombineOptions {
  /** How the adapters are combined, see above; 'svd'. One adapter alone is scaled. */
  combination_type?: CombinationType;
  /** The rank of the result of …svd (the largest of the adapters'). */
  svd_rank?: number;
  /** The quantile of the factors' values beyond which …svd clamps them. */
  svd_clamp?: number;
  /** The share of values that is kept, by all that drop some. */
  density?: number;
  /** Whether values or their signs are counted for a majority. */
  majority_sign_method?: 'total' | 'frequency';
  /** Makes what is dropped at random reproducible. */
  seed?: number;
}

const optionNames = [
  'combination_type', 'svd_rank', 'svd_clamp', 'density', 'majority_sign_method', 'seed',
] as const satisfies readonly (keyof CombineOptions)[]; // biome-ignore format: one table

/** Adds the combination to `adapters`. Throws ModelcError 'input' where the adapters do not go together. */
export function combineAdapters(
  adapters: Adapters,
  names: readonly string[],
  weights: readonly number[],
  name: string,
  options: CombineOptions,
): void {
  const parts = names.map((n) => adapters.get(n));
  const kind = names.length === 1 ? 'linear' : (options.combination_type ?? 'svd');
  check(parts, weights, kind, options);
  const ranks = parts.map(({ config }) => Math.max(config.r, ...Object.values(config.rank_pattern)));
  const rank = kind === 'cat' ? ranks.reduce((a, b) => a + b) : kind.endsWith('svd') ? (options.svd_rank ?? Math.max(...ranks)) : ranks[0]; // biome-ignore format: one row
  const targets = parts.map(({ config }) => config.target_modules ?? []);
  const isPattern = typeof targets[0] === 'string';
  const target_modules = isPattern ? targets.map((t) => `(${String(t)})`).join('|') : [...new Set(targets.flat())];
  const config = parts[0].config.with({ r: rank, lora_alpha: rank, target_modules, alpha_pattern: {}, rank_pattern: {}, use_rslora: false, init_lora_weights: true }); // biome-ignore format: one row
  const mixer = new Mixer(options);
  const added = adapters.put(name, config, (adapter) => {
    const values = new Map<string, HostTensor>();
    for (const { module } of adapter.targets) {
      const own = parts.flatMap((part, i) => {
        const target = part.targets.find((t) => t.module.name === module.name);
        if (!target) return [];
        const [a, b] = (['a', 'b'] as const).map((role) => outByIn(adapters.values.get(tensorFor(part, module.name, role)!.param)!, false)); // biome-ignore format: one row
        const delta = (): Matrix => deltaOf(part, target, adapters.values);
        return [{ a, b, weight: weights[i], scaling: target.scaling, delta }];
      });
      const { a, b } = mixer.mix(own, kind, rank, module);
      values.set(tensorFor(adapter, module.name, 'a')!.param, f32Tensor([rank, module.in], a.data));
      values.set(tensorFor(adapter, module.name, 'b')!.param, f32Tensor([module.out, rank], b.data));
    }
    return values;
  });
  added.isTrainable = false;
}

function check(parts: readonly Adapter[], weights: readonly number[], kind: string, options: CombineOptions): void {
  const fail = (message: string): never => {
    throw new ModelcError('input', message);
  };
  checkOptions('add_weighted_adapter()', options, optionNames, { svd_full_matrices: true, svd_driver: null });
  const { svd_rank: rank, svd_clamp: clamp, majority_sign_method: method } = options;
  if (rank !== undefined && !(Number.isSafeInteger(rank) && rank > 0)) fail(`\`svd_rank\` must be a positive integer, but is ${rank}`); // biome-ignore format: one row
  if (clamp !== undefined && !(clamp >= 0 && clamp <= 1)) fail(`\`svd_clamp\` must be a quantile from 0 to 1, but is ${clamp}`); // biome-ignore format: one row
  if (method !== undefined && method !== 'total' && method !== 'frequency') fail(`majority_sign_method must be 'total' or 'frequency', but is '${String(method)}'`); // biome-ignore format: one row
  if (!weights.every(Number.isFinite)) fail('the weights of adapters must be finite numbers');
  if (!kinds.some((k) => k === kind)) fail(`combination_type must be one of ${kinds.join(', ')}, but is '${kind}'`);
  if (parts.length === 0 || parts.length !== weights.length) fail(`${parts.length} adapters need as many weights, but there are ${weights.length}`); // biome-ignore format: one row
  const whole = parts.find(({ config, saved, tokens }) => config.use_dora || config.lora_bias || saved.length > 0 || tokens.length > 0); // biome-ignore format: one row
  if (whole) {
    throw new ModelcError('unsupported', `adapter '${whole.name}' has DoRA, a bias on B, token rows or modules_to_save, which cannot be combined`); // biome-ignore format: one row
  }
  const isOneRank = new Set(parts.flatMap((p) => p.targets.map((t) => t.rank))).size === 1;
  if (rules.some((r) => r === kind) && !isOneRank)
    fail(`combination_type '${kind}' needs adapters of one rank; use 'cat' or 'svd'`);
  if (new Set(parts.map(({ config }) => typeof config.target_modules)).size > 1) {
    fail('adapters whose target_modules are lists cannot be combined with those of a pattern');
  }
  const { density } = options;
  const drops = /ties|dare|prune/.test(kind);
  if (drops && !(typeof density === 'number' && density >= 0)) fail(`combination_type '${kind}' needs \`density\`, the share of values that is kept`); // biome-ignore format: one row
}

interface Part {
  readonly a: Matrix;
  readonly b: Matrix;
  readonly weight: number;
  readonly scaling: number;
  /** s B A, [out, in]. */
  readonly delta: () => Matrix;
}

interface Shape {
  readonly in: number;
  readonly out: number;
}

class Mixer {
  readonly #options: CombineOptions;
  readonly #random: RandomStream;

  constructor(options: CombineOptions) {
    this.#options = options;
    this.#random = new RandomStream(options.seed);
  }

  mix(
    parts: readonly Part[],
    kind: CombinationType,
    rank: number,
    shape: Shape,
  ): { readonly a: Matrix; readonly b: Matrix } {
    if (kind === 'cat') {
      const a = parts.map((p) => combine(p.weight * p.scaling, p.a, 0, p.a));
      return { a: stack(a, rank, shape.in), b: transposed(stack(parts.map((p) => transposed(p.b)), rank, shape.out)) }; // biome-ignore format: one row
    }
    if (kind === 'svd' || kind.endsWith('_svd')) {
      const rule = kind === 'svd' ? 'linear' : rules.find((r) => kind === `${r}_svd`)!;
      const sum = this.#sum(parts.map((p) => p.delta()), parts.map((p) => p.weight), rule); // biome-ignore format: one row
      return this.#cut(sum, rank);
    }
    const rule = rules.find((r) => r === kind)!;
    const roots = parts.map((p) => Math.sqrt(Math.abs(p.weight * p.scaling)));
    const signed = roots.map((root, i) => (parts[i].weight * parts[i].scaling < 0 ? -root : root));
    return { a: this.#sum(parts.map((p) => p.a), signed, rule), b: this.#sum(parts.map((p) => p.b), roots, rule) }; // biome-ignore format: one row
  }

  /** A weighted sum by one of the rules. */
  #sum(parts: readonly Matrix[], weights: readonly number[], rule: Rule): Matrix {
    const kept = parts.map((part) => this.#kept(part, rule));
    const votes = rule.endsWith('ties') ? majority(kept, this.#options.majority_sign_method ?? 'total') : undefined;
    const data = new Float64Array(parts[0].data.length);
    const counts = new Float64Array(data.length);
    kept.forEach((part, i) => {
      for (let at = 0; at < data.length; at++) {
        if (votes && Math.sign(part[at]) !== votes[at]) continue;
        data[at] += weights[i] * part[at];
        counts[at]++;
      }
    });
    if (votes) for (let at = 0; at < data.length; at++) data[at] /= Math.max(1, counts[at]);
    return matrix(parts[0].rows, parts[0].columns, data);
  }

  /** The values that a rule does not drop. */
  #kept({ data }: Matrix, rule: Rule): Float64Array {
    const density = this.#options.density ?? 1;
    if (rule === 'linear' || density >= 1) return data;
    if (rule.startsWith('dare')) return data.map((v) => (this.#random.next() < density ? v / density : 0));
    const order = [...data.keys()].sort((i, j) => Math.abs(data[j]) - Math.abs(data[i]));
    const out = new Float64Array(data.length);
    for (const i of order.slice(0, Math.trunc(density * data.length))) out[i] = data[i];
    return out;
  }

  /** The largest singular values of a matrix, as factors. */
  #cut(sum: Matrix, rank: number): { readonly a: Matrix; readonly b: Matrix } {
    const { u, s, vt } = svd(sum);
    const found = Math.min(rank, s.length);
    const a = stack([firstRows(vt, found)], rank, sum.columns);
    const bt = stack([scaleRows(firstRows(transposed(u), found), s)], rank, sum.rows);
    const { svd_clamp: clamp } = this.#options;
    if (clamp === undefined) return { a, b: transposed(bt) };
    const all = Float64Array.from([...bt.data, ...a.data]).sort();
    const place = clamp * (all.length - 1);
    const [low, high] = [all[Math.floor(place)], all[Math.ceil(place)]];
    const limit = low + (place - Math.floor(place)) * (high - low);
    const clamped = (m: Matrix): Matrix => matrix(m.rows, m.columns, m.data.map((v) => Math.max(-limit, Math.min(limit, v)))); // biome-ignore format: one row
    return { a: clamped(a), b: transposed(clamped(bt)) };
  }
}

/** The sign that most have at each place: of the sum of values, or of the sum of signs; 1 where it is zero. */
const majority = (parts: readonly Float64Array[], method: 'total' | 'frequency'): Float64Array =>
  parts[0].map((_, at) => {
    const sum = parts.reduce((n, part) => n + (method === 'total' ? part[at] : Math.sign(part[at])), 0);
    return sum >= 0 ? 1 : -1;
  });

/** Matrices below each other, then rows of zeros. */
function stack(parts: readonly Matrix[], rows: number, columns: number): Matrix {
  const out = matrix(rows, columns);
  let at = 0;
  for (const { data } of parts) {
    out.data.set(data, at);
    at += data.length;
  }
  return out;
}
