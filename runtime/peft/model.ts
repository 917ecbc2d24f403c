// PeftModel: a causal language model with low-rank adapters, with the methods that users of Python's PEFT know. The model
// that it is made from stays as it is. What the adapters do is compiled at the next use after it has changed.
import { causalTask } from '../../frontends/dsl/index.ts';
import { ModelcError } from '../../ir/error.ts';
import { adapt } from '../../passes/lora.ts';
import type { CausalLMOutput, ForwardOptions } from '../generation/forward.ts';
import { createModel, type GenerateResult, type PreTrainedModel } from '../generation/model.ts';
import type { GenerateOptions } from '../generation/resolve.ts';
import { warnOnce } from '../generation/warnings.ts';
import { loadModel, type ModelSource, modelOf, type OpenedModel, openSession, rewritten, sourceOf } from '../models.ts';
import type { TrainableModel } from '../trainer/trainable.ts';
import { type AdapterEffect, Adapters, baseRows, type SaveOptions } from './adapters.ts';
import { type CombineOptions, combineAdapters } from './combine.ts';
import type { LoraConfig } from './config.ts';
import { readAdapterConfig } from './files.ts';
import { modulesOf, parameterCount } from './modules.ts';
import { replicateLayers } from './replicate.ts';
import { RowSession } from './row-session.ts';
import { headsOf } from './targets.ts';
import { adaptTask, adoptValues } from './train.ts';

/** An adapter for every row of a batch; '__base__' for none. */
export interface RowAdapters {
  adapter_names?: readonly string[] | null;
}

export interface AdapterOptions {
  adapter_name?: string;
  /** Makes the initial values reproducible. */
  seed?: number;
}

export interface LoadAdapterOptions {
  adapter_name?: string;
  /** Whether the adapter is trained when it is active. */
  is_trainable?: boolean;
}

export interface MergeOptions {
  /** Refuses to merge where that gives NaN or infinite weights. */
  safe_merge?: boolean;
  /** The adapters to be merged (those that are active). */
  adapter_names?: readonly string[] | null;
}

/** The name that hidden layers of transformers' language models give their output layer. */
const head = 'lm_head';

/** The model as adapters make it. */
function adapted(opened: OpenedModel, { tensors, lora }: AdapterEffect): OpenedModel {
  const isPlain = lora.uses.length === 0 && (lora.replacements ?? []).length === 0;
  return rewritten(
    opened,
    tensors,
    isPlain ? undefined : (traced) => ({ ...traced, graph: adapt(traced.graph, lora) }),
  );
}

/**
 * A model with a new adapter. The model itself stays as it is. Throws ModelcError 'input' for targets that it lacks, and
 * 'unsupported' for what is not served.
 */
export async function get_peft_model(
  model: PreTrainedModel,
  config: LoraConfig,
  adapter_name = 'default',
  { seed }: { seed?: number } = {},
): Promise<PeftModel> {
  const peft = new PeftModel(model, config);
  await peft.add_adapter(adapter_name, config, { ...(seed === undefined ? {} : { seed }) });
  return peft;
}

export class PeftModel {
  readonly #adapters: Adapters;
  readonly #source: ModelSource;
  readonly #base: PreTrainedModel;
  #bound: { readonly version: number; readonly model: Promise<PreTrainedModel> } | undefined;
  #rowBound: { readonly key: string; readonly session: RowSession; readonly model: PreTrainedModel } | undefined;

  /** `config`: of the first adapter, which is added by get_peft_model or from_pretrained. */
  constructor(model: PreTrainedModel, config: LoraConfig) {
    const source = model instanceof PeftModel ? undefined : sourceOf(model);
    if (!source) {
      throw new ModelcError(
        'unsupported',
        'adapters need a model of from_pretrained; compiled artifacts and models with adapters take none',
      );
    }
    const { layer_replication: ranges } = config;
    const opened = ranges
      ? modelOf(replicateLayers(source.opened.checkpoint, ranges), source.opened.options)
      : source.opened;
    this.#source = { ...source, opened };
    this.#base = model;
    this.#adapters = new Adapters({
      modules: modulesOf(opened.trace('forward').graph, head),
      modelType: opened.model.config.modelType,
      vocabSize: opened.info.vocabSize,
      loraTargets: opened.model.loraTargets,
      parameterCount: parameterCount(modulesOf(source.opened.trace('forward').graph)),
      read: (name) => opened.weights.stored(name),
    });
    this.generation_config = model.generation_config;
  }

  /** How the model generates. */
  generation_config: PreTrainedModel['generation_config'];

  /** A model with the adapter of a folder. Throws ModelcError 'checkpoint' where that belongs to another model. */
  static async from_pretrained(
    model: PreTrainedModel,
    folder: string,
    { adapter_name = 'default', is_trainable = false }: LoadAdapterOptions = {},
  ): Promise<PeftModel> {
    const peft = new PeftModel(model, await readAdapterConfig(folder));
    await peft.load_adapter(folder, adapter_name, { is_trainable });
    return peft;
  }

  /** config.json of the model. */
  get config(): Readonly<Record<string, unknown>> {
    return this.#source.opened.checkpoint.config;
  }
  /** The adapters' configurations by name. */
  get peft_config(): Readonly<Record<string, LoraConfig>> {
    return Object.fromEntries([...this.#adapters.all].map(([name, adapter]) => [name, adapter.config]));
  }
  get active_adapter(): string {
    return this.#adapters.active[0] ?? '';
  }
  get active_adapters(): string[] {
    return [...this.#adapters.active];
  }
  get merged_adapters(): string[] {
    return [...this.#adapters.merged];
  }
  /** The adapters, for training and for tests. */
  get adapters(): Adapters {
    return this.#adapters;
  }

  // Adapters.

  /** A new adapter, which is not active unless it is the first. */
  async add_adapter(adapter_name: string, config: LoraConfig, { seed }: { seed?: number } = {}): Promise<void> {
    this.#sameLayers(config);
    const heads = headsOf(config.task_type);
    const own = config.modules_to_save ?? [];
    const { dir } = this.#source.opened.checkpoint;
    const complete = config.with({
      base_model_name_or_path: config.base_model_name_or_path ?? dir,
      ...(heads.length > 0 ? { modules_to_save: [...own, ...heads] } : {}),
    });
    await this.#adapters.add(adapter_name, complete, { seed });
  }

  /** The adapter of a folder, which is not active unless it is the first. */
  async load_adapter(
    folder: string,
    adapter_name: string,
    { is_trainable = false }: Pick<LoadAdapterOptions, 'is_trainable'> = {},
  ): Promise<void> {
    this.#sameLayers(await readAdapterConfig(folder));
    await this.#adapters.load(folder, adapter_name, is_trainable);
  }

  #sameLayers({ layer_replication: ranges }: LoraConfig): void {
    const [first] = this.#adapters.all.values();
    if (!first || ranges === null || JSON.stringify(ranges) === JSON.stringify(first.config.layer_replication)) return;
    throw new ModelcError('input', `the model's layers are those of adapter '${first.name}'; layer_replication of another adapter must be the same or null`); // biome-ignore format: one row
  }

  /** Removes an adapter; where no other is active, the first of the rest becomes so. */
  delete_adapter(adapter_name: string): void {
    this.#adapters.delete(adapter_name);
  }

  /** The adapters that are applied from now on; they are trained, unless for inference. */
  set_adapter(adapter_name: string | readonly string[], inference_mode = false): void {
    const names = typeof adapter_name === 'string' ? [adapter_name] : adapter_name;
    this.#adapters.setActive(names);
    for (const name of names) this.#adapters.get(name).isTrainable = !inference_mode;
  }

  disable_adapters(): void {
    const biased = this.#adapters.activeAdapters.find((a) => a.config.bias !== 'none');
    if (biased) {
      warnOnce(`Adapter '${biased.name}' trains biases of the base model, which stay when it is disabled.`);
    }
    this.#adapters.enable(false);
  }
  enable_adapters(): void {
    this.#adapters.enable(true);
  }

  /** What `body` gives while no adapter is applied. */
  async disable_adapter<T>(body: (model: PeftModel) => T | Promise<T>): Promise<T> {
    const wasEnabled = this.#adapters.isEnabled;
    this.disable_adapters();
    try {
      return await body(this);
    } finally {
      this.#adapters.enable(wasEnabled);
    }
  }

  /** A new adapter that combines others, each with its weight; see combine.ts for the kinds. */
  add_weighted_adapter(
    adapters: readonly string[],
    weights: readonly number[],
    adapter_name: string,
    options: CombineOptions = {},
  ): void {
    if (this.#adapters.all.has(adapter_name)) return;
    combineAdapters(this.#adapters, adapters, weights, adapter_name, options);
  }

  // Merging.

  /** Folds adapters into the weights that the model reads, until unmerge_adapter(). */
  async merge_adapter({ safe_merge = false, adapter_names }: MergeOptions = {}): Promise<void> {
    const names = adapter_names ?? this.#adapters.active;
    const again = names.filter((name) => this.#adapters.merged.includes(name));
    if (again.length > 0) warnOnce(`Already merged, so not merged again: ${again.join(', ')}.`);
    await this.#adapters.merge(names, safe_merge);
  }

  unmerge_adapter(): void {
    if (this.#adapters.merged.length === 0) warnOnce('No adapter is merged, so there is nothing to unmerge.');
    this.#adapters.unmerge();
  }

  /** A plain model with adapters folded into its weights. This model must not be used any more. */
  async merge_and_unload({ safe_merge = false, adapter_names }: MergeOptions = {}): Promise<PreTrainedModel> {
    await this.#adapters.merge(adapter_names ?? this.#adapters.active, safe_merge);
    this.#adapters.enable(true);
    const merged = await this.#open();
    this.#bound = undefined;
    return merged;
  }

  /** The model without adapters. */
  unload(): PreTrainedModel {
    this.dispose();
    return this.#base;
  }
  get_base_model(): PreTrainedModel {
    return this.#base;
  }

  // Files.

  /**
   * Writes adapters as Python's PEFT reads them: the one named 'default' into the folder, others into folders of their
   * names below it.
   */
  save_pretrained(folder: string, options: SaveOptions = {}): Promise<void> {
    return this.#adapters.save(folder, options);
  }

  // Parameters.

  /** Numbers of parameters that are trained, and of all. */
  get_nb_trainable_parameters(): [trainable: number, all: number] {
    const { trainable, all } = this.#adapters.count();
    return [trainable, all];
  }

  print_trainable_parameters(): void {
    const [trainable, all] = this.get_nb_trainable_parameters();
    const text = (n: number): string => n.toLocaleString('en-US');
    const share = ((100 * trainable) / all).toFixed(4);
    console.log(`trainable params: ${text(trainable)} || all params: ${text(all)} || trainable%: ${share}`);
  }

  /** What a Trainer needs to train the active adapters; it throws where none of them is trainable. */
  get trainable(): TrainableModel {
    const { opened, target, device } = this.#source;
    const { checkpoint, model, weights, limits } = opened;
    const adapters = this.#adapters;
    return {
      ...adaptTask(causalTask(model.model), weights, adapters),
      target,
      ...(device ? { device } : {}),
      maxPositions: limits.length,
      config: checkpoint.config,
      generationConfig: checkpoint.generationConfig,
      adopt: async (values) => adoptValues(adapters, values),
      saved: {
        write: (folder, values) => {
          adoptValues(adapters, values);
          return adapters.save(folder, { selected_adapters: adapters.active });
        },
        read: (folder) => adapters.readValues(folder),
      },
    };
  }

  // Running.

  /** The forward pass over all positions, as of a model without adapters; `adapter_names` gives every row its own. */
  async forward({ adapter_names, ...options }: ForwardOptions & RowAdapters): Promise<CausalLMOutput> {
    return (await this.#model(adapter_names)).forward(options);
  }

  /** Continues the rows of input_ids, as a model without adapters does; `adapter_names` gives every row its own. */
  async generate<const O extends GenerateOptions>(options: O & RowAdapters): Promise<GenerateResult<O>> {
    const { adapter_names, ...rest } = options;
    const model = await this.#model(adapter_names);
    model.generation_config = this.generation_config;
    return model.generate<O>(rest as unknown as O);
  }

  /** The new ids of each step, one per row, as they are decoded. */
  async *stream(options: GenerateOptions & RowAdapters): AsyncGenerator<bigint[], void, undefined> {
    const { adapter_names, ...rest } = options;
    const model = await this.#model(adapter_names);
    model.generation_config = this.generation_config;
    yield* model.stream(rest);
  }

  async #model(names?: readonly string[] | null): Promise<PreTrainedModel> {
    if (names) return this.#rowModel(names);
    const { version } = this.#adapters;
    if (this.#bound?.version !== version) {
      const old = this.#bound;
      this.#bound = { version, model: this.#open() };
      old?.model.then((model) => model.dispose()).catch(() => undefined);
    }
    return this.#bound.model;
  }

  /** The model as the adapters are now. */
  async #open(): Promise<PreTrainedModel> {
    const { opened, target, device } = this.#source;
    return loadModel(adapted(opened, await this.#adapters.effect()), target, device);
  }

  async #rowModel(names: readonly string[]): Promise<PreTrainedModel> {
    const columns = [...new Set(names)].filter((name) => name !== baseRows).sort();
    for (const name of columns) {
      const { config } = this.#adapters.get(name);
      const whole =
        config.use_dora || config.trainable_token_indices !== null || (config.modules_to_save ?? []).length > 0;
      if (whole) {
        throw new ModelcError('unsupported', `adapter_names cannot name '${name}', which has DoRA, token rows or modules_to_save; run its rows by themselves`); // biome-ignore format: one row
      }
    }
    if (this.#adapters.merged.length > 0) {
      throw new ModelcError('input', 'adapter_names needs adapters that are not merged; call unmerge_adapter() first');
    }
    if (columns.length === 0) return this.disable_adapter(() => this.#model());
    const key = `${this.#adapters.version} ${columns.join()}`;
    if (this.#rowBound?.key !== key) {
      this.#rowBound?.model.dispose();
      const { opened, target, device } = this.#source;
      const changed = adapted(opened, await this.#adapters.effect(columns));
      const session = new RowSession(await openSession(changed, target, device), columns);
      const model = createModel(session, opened.info, opened.checkpoint.config, this.generation_config);
      this.#rowBound = { key, session, model };
    }
    this.#rowBound.session.names = names;
    return this.#rowBound.model;
  }

  /** Frees the code and memory of this model; the model that it was made from stays. */
  dispose(): void {
    this.#bound?.model.then((model) => model.dispose()).catch(() => undefined);
    this.#rowBound?.model.dispose();
    this.#bound = undefined;
    this.#rowBound = undefined;
  }
}
