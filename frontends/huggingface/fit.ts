// The weights of a checkpoint and the parameters of a model: which is which, under the many names that files have for
// them. Every parameter finds its weight, or is made new where it belongs to a head; every tensor is read, or is known to
// say nothing; anything else is an error, because results would be wrong without a word.
import { ModelcError } from '../../ir/error.ts';
import { type Module, Parameter, pathsOf, withParameterLimit } from '../dsl/index.ts';
import type { Checkpoint } from './checkpoint.ts';
import type { Beside, Bounds } from './fields.ts';
import { commonPrefix, packed, sortUnread, unwrapped, weightNames } from './names.ts';
import { type StoredTensor, sameBytes } from './safetensors.ts';

type Tensors = ReadonlyMap<string, StoredTensor>;

/** What a model wants of a checkpoint. */
export interface Wanted {
  readonly model: Module;
  /** The path of the model below its head, which the names of files may lack. */
  readonly prefix: string;
  /** Such a path before names that the model itself does not have: the model is one without its head. */
  readonly outer?: string;
  /** Whether a parameter belongs to a head, which is made new where the checkpoint has none. */
  isNew(path: string): boolean;
  /** The model is the caller's own: what it does not read, and has no weights for, is its author's business. */
  readonly isOwn?: boolean;
}

export interface FitOptions {
  /** Weights of other shapes are made new, too. */
  readonly ignore_mismatched_sizes?: boolean | null | undefined;
}

/** The weights of a model. */
export interface Fit {
  /** Those that the checkpoint has, by the paths of the model's parameters. */
  readonly tensors: Tensors;
  /** Parameters that it has no weights for: they are drawn. */
  readonly fresh: ReadonlyMap<string, Parameter>;
  /** What the user should know: warnings. */
  readonly notes: readonly string[];
}

/** Small numbers cost nothing, and are better compared with the weight that they are about. */
const leastBounds = { size: 4096, parts: 256 };

/** What the sizes of a config are compared with. */
function boundsOf({ dir, tensors }: Checkpoint): Bounds {
  let { size } = leastBounds;
  for (const { shape } of tensors.values()) for (const axis of shape) size = Math.max(size, axis);
  return { size, parts: Math.max(leastBounds.parts, tensors.size), holder: dir };
}

/**
 * The model that `describe` makes of a config, and its weights. Where the checkpoint has an output layer with other values
 * than the embeddings, the model is made with one, whatever its config says. Throws ModelcError 'checkpoint' for weights
 * that do not fit.
 */
export function fitted<D>(
  given: Checkpoint,
  describe: (beside: Beside & { readonly tensors: Tensors }) => D,
  wantedOf: (described: D) => Wanted,
  options: FitOptions = {},
): { readonly described: D; readonly fit: Fit } {
  const checkpoint = { ...given, tensors: unwrapped(given.tensors) };
  const { dir, tensors } = checkpoint;
  const said = new Set<string>();
  const attempt = (untied: boolean): { described: D; fit: Fit } | undefined => {
    const excess = (): Error =>
      new ModelcError(
        'checkpoint',
        `${dir}/config.json asks for many times the ${tensors.size} weights of ${dir}; the two do not belong together`,
      );
    const beside = { bounds: boundsOf(checkpoint), untied, note: (text: string) => said.add(text), tensors };
    const described = withParameterLimit(4 * tensors.size + 1000, excess, () => describe(beside));
    const fit = fitOnce(checkpoint, wantedOf(described), untied, options);
    return fit && { described, fit };
  };
  const { described, fit } = attempt(false) ?? attempt(true)!;
  return { described, fit: { ...fit, notes: [...said, ...fit.notes] } };
}

/** undefined: tied weights have different values, and the model should be made without tying them. */
function fitOnce(checkpoint: Checkpoint, wanted: Wanted, untied: boolean, options: FitOptions): Fit | undefined {
  const { dir } = checkpoint;
  const parameters = new Map([...wanted.model.named()].flatMap(([p, f]) => (f instanceof Parameter ? [[p, f]] : [])));
  const paths = pathsOf(wanted.model);
  const pathOf = new Map([...paths].flatMap(([path, all]) => all.map((name) => [name, path] as const)));
  const named = renamed(checkpoint.tensors, wanted, pathOf);

  const found = new Map<string, { name: string; tensor: StoredTensor }>();
  const unread = new Map<string, StoredTensor>();
  for (const [name, tensor] of named) {
    const path = pathOf.get(name);
    const other = path === undefined ? undefined : found.get(path);
    if (path === undefined) unread.set(name, tensor);
    else if (!other) found.set(path, { name, tensor });
    else if (!isSame(other.tensor, tensor)) {
      if (!untied) return undefined;
      throw new ModelcError(
        'checkpoint',
        `${dir} has different values for ${other.name} and ${name}, which are one weight in this model`,
      );
    }
  }
  const tensors = new Map([...found].map(([path, { tensor }]) => [path, tensor]));
  const misshapen = [...tensors].filter(([path, { shape }]) => !isShape(shape, parameters.get(path)!.shape));
  const missing = [...parameters.keys()].filter((path) => !tensors.has(path));
  const { heads, others } = sortUnread(unread, pathOf.keys());
  checkPacked(checkpoint, others);
  if (!wanted.isOwn)
    checkMissing(
      checkpoint,
      missing.filter((path) => !wanted.isNew(path)),
      others,
    );
  const mends = options.ignore_mismatched_sizes === true;
  if (misshapen.length > 0 && !mends) refuseShape(checkpoint, misshapen[0], parameters.get(misshapen[0][0])!.shape);
  if (!wanted.isOwn && others.length > 0) refuseUnread(checkpoint, others);

  const made = [...missing.filter((path) => wanted.isNew(path)), ...misshapen.map(([path]) => path)];
  for (const path of made) tensors.delete(path);
  const left = wanted.isOwn ? [...heads, ...others] : heads;
  const notes = [
    ...(left.length > 0 ? [`${dir} has ${weightNames(left)} of which this model makes no use`] : []),
    ...(made.length > 0
      ? [
          `${dir} lacks ${weightNames(made)}${mends ? ', or has other shapes' : ''}: new values are drawn, which should be trained`,
        ]
      : []),
  ];
  return { tensors, fresh: new Map(made.map((path) => [path, parameters.get(path)!])), notes };
}

const isShape = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((d, i) => d === b[i]);

const isSame = (a: StoredTensor, b: StoredTensor): boolean =>
  a === b || (a.dtype === b.dtype && isShape(a.shape, b.shape) && sameBytes(a.span, b.span));

/**
 * The tensors under the model's names: files may have those of a model without its head, or with one, may have another
 * model around it, and old ones call the parameters of norms gamma and beta. The form that gives the most names wins.
 */
function renamed(tensors: Tensors, { prefix, outer }: Wanted, pathOf: ReadonlyMap<string, string>): Tensors {
  const names = [...tensors.keys()];
  const without = (start: string) => (name: string) => (name.startsWith(start) ? name.slice(start.length) : name);
  const forms: ((name: string) => string)[] = [(name) => name];
  const around = commonPrefix(names);
  if (around !== '') forms.push(without(around));
  for (const start of ['model.', ...(outer === undefined ? [] : [`${outer}.`])]) {
    if (names.some((name) => name.startsWith(start))) forms.push(without(start));
  }
  if (prefix !== '') {
    for (const form of [...forms]) {
      forms.push((name) => (pathOf.has(form(name)) ? form(name) : `${prefix}.${form(name)}`));
    }
  }
  const todays = (name: string): string => {
    const known = name.replace(/\.gamma$/, '.weight').replace(/\.beta$/, '.bias');
    return pathOf.has(known) ? known : name;
  };
  const score = (form: (name: string) => string): number =>
    names.reduce((n, name) => n + (pathOf.has(todays(form(name))) ? 1 : 0), 0);
  const scores = forms.map(score);
  const best = forms[scores.indexOf(Math.max(...scores))];
  const result = new Map<string, StoredTensor>();
  for (const [name, tensor] of tensors) {
    const mine = todays(best(name));
    // What is no parameter keeps its own name, so that messages can name it.
    result.set(pathOf.has(mine) && !result.has(mine) ? mine : name, tensor);
  }
  return result;
}

function checkPacked({ dir }: Checkpoint, unread: readonly string[]): void {
  const found = unread.find((name) => packed.test(name));
  if (found === undefined) return;
  throw new ModelcError(
    'unsupported',
    `${dir} has packed weights (${found}); use the checkpoint with unquantized weights`,
  );
}

function checkMissing({ dir, tensors }: Checkpoint, missing: readonly string[], unread: readonly string[]): void {
  if (missing.length === 0) return;
  const around = commonPrefix(unread);
  const begins =
    unread.length > 1 && unread.length === tensors.size && around !== '' ? ` (every name begins with '${around}')` : '';
  const instead = unread.length > 0 ? `; it has ${weightNames(unread)} instead${begins}` : '';
  throw new ModelcError(
    'checkpoint',
    `${dir} lacks ${weightNames(missing)}${instead}; its config.json does not fit its weights, or the download is incomplete`,
  );
}

function refuseShape(
  { dir, config }: Checkpoint,
  [path, tensor]: [string, StoredTensor],
  shape: readonly number[],
): never {
  const differing = shape.filter((d, i) => d !== tensor.shape[i]);
  const fields = Object.entries(config).filter(([, value]) => differing.includes(value as number));
  const said =
    fields.length > 0
      ? ` (${fields
          .map(([name, value]) => `${name} ${value}`)
          .slice(0, 3)
          .join(', ')})`
      : '';
  throw new ModelcError(
    'checkpoint',
    `weight ${path} in ${tensor.span.path} has shape [${tensor.shape}], but ${dir}/config.json asks for [${shape}]${said}; ` +
      'the two do not belong together; `ignore_mismatched_sizes: true` makes such weights new',
  );
}

function refuseUnread({ dir }: Checkpoint, unread: readonly string[]): never {
  throw new ModelcError(
    'checkpoint',
    `${dir} has ${weightNames(unread)} that the model of its config.json does not read; ` +
      'results would be wrong without them: mend config.json (model_type, numbers of layers, biases), or take them out of the file',
  );
}
