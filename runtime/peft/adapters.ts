// The adapters on one model: which there are, which are active or merged, and the values of their tensors. It knows weights,
// not sessions: `effect` tells what the adapters do to a graph and to the weights that it reads.
import { dirname, join } from 'node:path';
import { quote } from '../../frontends/huggingface/json.ts';
import { ModelcError } from '../../ir/error.ts';
import type { LoraOptions, Replacement } from '../../passes/lora.ts';
import { warnOnce } from '../generation/warnings.ts';
import type { HostTensor } from '../tensors/host-tensor.ts';
import { type AdaptedModel, type Adapter, adapterOf, indicesParam, replacementsOf, usesOf } from './adapter.ts';
import type { LoraConfig } from './config.ts';
import { configName, type OpenedAdapter, writeAdapter } from './files.ts';
import { initialValues } from './init.ts';
import { checkFinite, mergedMatrices } from './merge.ts';
import { openAdapterFile, readAdapterValues } from './read-adapter.ts';
import { headsOf, inputEmbedding } from './targets.ts';
import { f32Tensor, hostTensor, numbersOf, type ReadWeight } from './weights.ts';

/** What adapters do: tensors in place of weights of the base or beside them, and the rewrite of the graph. */
export interface AdapterEffect {
  readonly tensors: Map<string, HostTensor>;
  readonly lora: LoraOptions;
}

/** Rows of a batch that no adapter changes. */
export const baseRows = '__base__';

/** Options of a PeftModel's save_pretrained. */
export interface SaveOptions {
  /** Names of the adapters that are written; all. */
  readonly selected_adapters?: readonly string[];
  /** Whether input and output embeddings are written with them; 'auto' (default): where they change them. */
  readonly save_embedding_layers?: boolean | 'auto';
}

export class Adapters {
  readonly base: AdaptedModel;
  readonly all = new Map<string, Adapter>();
  /** f32, by param; those of all adapters. */
  readonly values = new Map<string, HostTensor>();
  /** Weights of the base that an initialisation or a trained bias has changed. */
  readonly changed = new Map<string, HostTensor>();
  #active: readonly string[] = [];
  #merged: readonly string[] = [];
  #isEnabled = true;
  /** Counts changes of what the adapters do. */
  version = 0;

  constructor(base: AdaptedModel) {
    this.base = base;
  }

  get active(): readonly string[] {
    return this.#active;
  }
  get merged(): readonly string[] {
    return this.#merged;
  }
  get isEnabled(): boolean {
    return this.#isEnabled;
  }

  /** Throws ModelcError 'input' where there is no adapter of that name. */
  get(name: string): Adapter {
    const adapter = this.all.get(name);
    if (adapter) return adapter;
    throw new ModelcError(
      'input',
      `there is no adapter ${quote(String(name))}; there are ${[...this.all.keys()].join(', ') || 'none'}`,
    );
  }

  get activeAdapters(): Adapter[] {
    return this.#active.map((name) => this.get(name));
  }

  /** A weight of the base as it is now: a bias may be trained, or another weight changed by an initialisation. */
  readonly read: ReadWeight = async (name) => this.#changedWeights().get(name) ?? this.base.read(name);

  /** Weights of the base that are not what they were. */
  #changedWeights(): Map<string, HostTensor> {
    const changed = new Map(this.changed);
    for (const { tensors } of this.all.values()) {
      for (const { role, of, shape } of tensors) {
        const dtype = this.base.modules.dtypes.get(of) ?? 'f32';
        if (role === 'base_bias') changed.set(of, hostTensor(dtype, shape, numbersOf(this.values.get(of)!)));
      }
    }
    return changed;
  }

  /** A new adapter with initial values; the first one becomes active. */
  async add(name: string, config: LoraConfig, options: { readonly seed?: number | undefined } = {}): Promise<Adapter> {
    const adapter = this.#resolve(name, config);
    const initial = await initialValues(adapter, this.read, options);
    for (const { role, param, of, shape } of adapter.tensors) {
      if (role === 'base_bias') this.values.set(param, f32Tensor(shape, numbersOf(await this.read(of))));
    }
    return this.#keep(adapter, initial);
  }

  /** An adapter of a folder under a name; the first one becomes active. */
  async load({ config, file }: OpenedAdapter, name: string, isTrainable: boolean): Promise<Adapter> {
    const own = config.modules_to_save ?? [];
    // As PEFT does it; heads that an adapter was saved without stay the base's.
    const heads = headsOf(config.task_type).filter((head) => [...file.tensors.keys()].some((key) => key.includes(`.${head}.`))); // biome-ignore format: one row
    const saved = heads.length > 0 ? { modules_to_save: [...new Set([...own, ...heads])] } : {};
    const path = join(dirname(file.path), configName);
    const adapter = this.#resolve(name, config.with({ ...saved, inference_mode: !isTrainable }), path);
    const { base } = await initialValues(adapter, this.read, { isRead: true });
    const { tensors, base: brought } = await readAdapterValues(file, adapter, this.base.modules);
    return this.#keep(adapter, { tensors, base: new Map([...base, ...brought]) });
  }

  /** An adapter whose values are given, f32 by param. */
  put(name: string, config: LoraConfig, values: (adapter: Adapter) => ReadonlyMap<string, HostTensor>): Adapter {
    const adapter = this.#resolve(name, config);
    return this.#keep(adapter, { tensors: values(adapter), base: new Map() });
  }

  /** `path`: the file that a configuration is from. */
  #resolve(name: string, config: LoraConfig, path?: string): Adapter {
    checkName(name);
    if (this.all.has(name)) {
      throw new ModelcError('input', `there is an adapter '${name}' already; delete it first or take another name`);
    }
    const biased = [...this.all.values()].find((a) => a.config.bias !== 'none');
    if (biased && config.bias !== 'none') {
      throw new ModelcError(
        'input',
        `adapter '${biased.name}' trains biases of the base, which only one adapter can do; set bias to 'none'`,
      );
    }
    const { modules } = this.base;
    const adapter = atPath(path, () => adapterOf(name, config, modules, this.base));
    const bypassed = adapter.saved.find((saved) => modules.isBypassed(saved.name));
    if (bypassed) {
      warnOnce(
        `modules_to_save names ${bypassed.name}, but the model reads this table under other names, as it does in Python: its copy is saved and not trained.`,
      );
    }
    return adapter;
  }

  #keep(
    adapter: Adapter,
    {
      tensors,
      base,
    }: { readonly tensors: ReadonlyMap<string, HostTensor>; readonly base: ReadonlyMap<string, HostTensor> },
  ): Adapter {
    for (const [param, tensor] of tensors) this.values.set(param, tensor);
    for (const [weight, tensor] of base) this.changed.set(weight, tensor);
    this.all.set(adapter.name, adapter);
    if (this.#active.length === 0) this.#active = [adapter.name];
    this.version++;
    return adapter;
  }

  setActive(names: readonly string[]): void {
    for (const name of names) this.get(name);
    if (new Set(names).size < names.length) throw new ModelcError('input', 'an adapter can be active only once');
    this.#active = [...names];
    this.version++;
  }

  enable(isEnabled: boolean): void {
    this.#isEnabled = isEnabled;
    this.version++;
  }

  delete(name: string): void {
    const adapter = this.get(name);
    if (this.#merged.includes(name)) {
      throw new ModelcError('input', `adapter '${name}' is merged; call unmerge_adapter() before deleting it`);
    }
    const shared = new Set(
      [...this.all.values()].filter((a) => a !== adapter).flatMap((a) => a.tensors.map((t) => t.param)),
    );
    for (const { param } of adapter.tensors) if (!shared.has(param)) this.values.delete(param);
    this.all.delete(name);
    this.#active = this.#active.filter((a) => a !== name);
    const [other] = this.all.keys();
    if (this.#active.length === 0 && other !== undefined) this.#active = [other];
    this.version++;
  }

  /** From now on the weights of the base are read with these adapters in them, and the others are not applied. */
  async merge(names: readonly string[], isSafe: boolean): Promise<void> {
    const added = names.filter((name) => !this.#merged.includes(name));
    const merged = await mergedMatrices(
      [...this.#merged, ...added].map((n) => this.get(n)),
      this.values,
      this.read,
    );
    if (isSafe) for (const matrix of merged.values()) checkFinite(added, matrix);
    this.#merged = [...this.#merged, ...added];
    this.version++;
  }

  unmerge(): void {
    this.#merged = [];
    this.version++;
  }

  /** What the adapters do now; with `rows`, what these do, each for some rows of a batch. */
  async effect(rows?: readonly string[]): Promise<AdapterEffect> {
    const { tensors, lora } = this.applied(rows);
    if (!this.#isEnabled || this.#merged.length === 0) return { tensors, lora };
    const merged = await mergedMatrices(
      this.#merged.map((name) => this.get(name)),
      this.values,
      this.read,
    );
    const replacements: Replacement[] = [];
    for (const { module, weight, bias, inAllUses } of merged.values()) {
      if (bias && module.bias !== undefined) tensors.set(module.bias, bias);
      if (!module.isTied || inAllUses) {
        tensors.set(module.weight, weight);
        continue;
      }
      const by = `${module.name}.merged.weight`;
      replacements.push({ weight: module.weight, use: module.use, by });
      tensors.set(by, f32Tensor(weight.shape, numbersOf(weight)));
    }
    return { tensors, lora: { ...lora, replacements: [...replacements, ...(lora.replacements ?? [])] } };
  }

  /** What the adapters do besides those that are merged. */
  applied(rows?: readonly string[]): AdapterEffect {
    const tensors = this.#changedWeights();
    if (!this.#isEnabled) return { tensors, lora: { uses: [] } };
    const applied = rows ? rows.map((name) => this.get(name)) : this.#merged.length > 0 ? [] : this.activeAdapters;
    const copies = rows ? [] : this.activeAdapters;
    for (const adapter of new Set([...applied, ...copies])) {
      for (const { role, param } of adapter.tensors) {
        if (role !== 'base_bias') tensors.set(param, this.values.get(param)!);
      }
    }
    for (const adapter of applied) {
      for (const { module, indices } of adapter.tokens) {
        tensors.set(indicesParam(adapter.name, module.name), hostTensor('i32', [indices.length], indices));
      }
    }
    const uses = usesOf(applied, rows !== undefined);
    const replacements = replacementsOf(copies, this.base.modules);
    return { tensors, lora: { uses, replacements, ...(rows ? { columns: rows.length } : {}) } };
  }

  /** Writes adapters: the one named 'default' into the folder itself, others into folders of their names. */
  async save(folder: string, options: SaveOptions = {}): Promise<void> {
    const names = options.selected_adapters ?? [...this.all.keys()];
    for (const name of names) {
      const adapter = this.get(name);
      const base = await this.#savedEmbeddings(adapter, options.save_embedding_layers ?? 'auto');
      await writeAdapter(folderOf(folder, name), adapter, this.values, base);
    }
  }

  /** The values of the active adapters in a folder that `save` wrote, by param. */
  async readValues(folder: string): Promise<Map<string, HostTensor>> {
    const values = new Map<string, HostTensor>();
    for (const adapter of this.activeAdapters) {
      const file = await openAdapterFile(folderOf(folder, adapter.name));
      const { tensors } = await readAdapterValues(file, adapter, this.base.modules);
      for (const [param, tensor] of tensors) values.set(param, tensor);
    }
    return values;
  }

  async #savedEmbeddings({ config, targets }: Adapter, mode: boolean | 'auto'): Promise<Map<string, HostTensor>> {
    const { modules, vocabSize } = this.base;
    const targeted = new Set(targets.map(({ module }) => module.name));
    const both = [inputEmbedding(modules, vocabSize)?.name, modules.head].filter((name) => name !== undefined);
    const { target_modules: given } = config;
    const isNamed = ['embed_tokens', 'lm_head'].some((end) =>
      typeof given === 'string' ? both.some((name) => targeted.has(name) && name.endsWith(end)) : given?.includes(end),
    );
    const kept = new Map<string, HostTensor>();
    if (mode === false || (mode === 'auto' && (!isNamed || config.trainable_token_indices !== null))) return kept;
    for (const name of both) {
      const module = modules.matrices.get(name);
      if (module && (!isNamed || targeted.has(name))) kept.set(name, await this.read(module.weight));
    }
    return kept;
  }

  /** Parameters that are trained now, by PEFT's names: those of active adapters that are trainable. */
  get trainable(): { readonly name: string; readonly param: string; readonly shape: readonly number[] }[] {
    const active = this.#isEnabled ? this.activeAdapters : [];
    return active.filter((a) => a.isTrainable).flatMap((a) => a.tensors);
  }

  /** Numbers of parameters that are trained, and of all. */
  count(): { readonly trainable: number; readonly all: number } {
    const size = (shape: readonly number[]): number => shape.reduce((n, d) => n * d, 1);
    const sum = (shapes: Iterable<readonly number[]>): number => [...shapes].reduce((n, s) => n + size(s), 0);
    const own = [...this.all.values()].flatMap((a) => a.tensors.filter((t) => t.role !== 'base_bias'));
    return {
      trainable: sum(this.trainable.map((t) => t.shape)),
      all: this.base.parameterCount + sum(own.map((t) => t.shape)),
    };
  }
}

/** What `make` gives; its errors name the file, if there is one. */
function atPath<T>(path: string | undefined, make: () => T): T {
  try {
    return make();
  } catch (cause) {
    if (path === undefined || !(cause instanceof ModelcError)) throw cause;
    const code = cause.code === 'input' ? 'checkpoint' : cause.code;
    throw new ModelcError(code, `${path} does not fit this model: ${cause.message}`, { cause });
  }
}

/** Names are parts of names of tensors, and of folders. */
function checkName(name: unknown): asserts name is string {
  if (typeof name === 'string' && /^[\p{L}\p{N}_][\p{L}\p{N}_ @+=-]{0,99}$/u.test(name) && name !== baseRows && name !== '__proto__') return; // biome-ignore format: one row
  const shown = typeof name === 'string' ? quote(name) : typeof name;
  throw new ModelcError('input', `${shown} cannot be the name of an adapter; use at most 100 letters, digits, - and _`);
}

/** Where the adapter of a name is kept below a folder. */
const folderOf = (folder: string, name: string): string => (name === 'default' ? folder : join(folder, name));
