// What models with low-rank adapters have in common, with the methods that users of Python's PEFT know: adding, switching,
// merging, saving and counting. The model that they are made from stays as it is. What the adapters do is compiled at the
// next use after it has changed.
import type { Traced } from '../../frontends/dsl/index.ts';
import type { KindName } from '../../frontends/huggingface/index.ts';
import { ModelcError } from '../../ir/error.ts';
import type { Graph } from '../../ir/graph.ts';
import { checkOptions } from '../../ir/options.ts';
import { adapt } from '../../passes/lora.ts';
import { warnOnce } from '../generation/warnings.ts';
import type { Models } from '../models/bind.ts';
import { loadModel, modelOf, type OpenedModel, rewritten } from '../models/open.ts';
import { isOverlaid } from '../tensors/weight-store.ts';
import type { TrainableModel } from '../trainer/trainable.ts';
import { type AdapterEffect, Adapters, type SaveOptions } from './adapters.ts';
import { type CombineOptions, combineAdapters } from './combine.ts';
import { checkConfig, type LoraConfig } from './config.ts';
import { openAdapter } from './files.ts';
import { modulesOf, parameterCount } from './modules.ts';
import type { AdapterFile } from './read-adapter.ts';
import { replicateLayers } from './replicate.ts';
import { type CheckpointChange, resizing } from './resize.ts';
import { headsOf } from './targets.ts';
import { adaptTask, adoptValues } from './train.ts';

/** Options of load_adapter and PeftModel.from_pretrained. */
export interface LoadAdapterOptions {
  /** The name that the adapter gets here; 'default'. */
  adapter_name?: string;
  /** Whether the adapter is trained when it is active; false. */
  is_trainable?: boolean;
  /** The folder of the adapter below the one that is named; none. */
  subfolder?: string | null;
}

/** Options of PEFT's loading that ask for nothing with these values. */
const unservedInLoading = {
  config: null,
  autocast_adapter_dtype: true,
  ephemeral_gpu_offload: false,
  low_cpu_mem_usage: false,
  key_mapping: null,
  ignore_mismatched_sizes: false,
  torch_device: null,
  device_map: null,
  max_memory: null,
  offload_folder: null,
  offload_dir: null,
  revision: null,
  token: null,
  cache_dir: null,
  force_download: false,
  local_files_only: false,
  use_safetensors: true,
} as const;

/** Checks the options of a call that loads an adapter. */
export const checkLoading = (call: string, options: LoadAdapterOptions, served: readonly string[]): void =>
  checkOptions(call, options, served, unservedInLoading);

/** Options of PEFT's calls that make an adapter, as above. */
const unservedInMaking = { mixed: false, autocast_adapter_dtype: true, low_cpu_mem_usage: false, revision: null } as const; // biome-ignore format: one row

/** Options of add_adapter and get_peft_model. */
export interface NewAdapterOptions {
  /** Makes the initial values reproducible; without it each adapter has its own. */
  seed?: number;
}

export const checkMaking = (call: string, options: NewAdapterOptions): void =>
  checkOptions(call, options, ['seed'], unservedInMaking);

/** Options of merge_and_unload and merge_adapter. */
export interface MergeOptions {
  /** Refuses to merge where that gives NaN or infinite weights; false. */
  safe_merge?: boolean;
  /** The adapters to be merged; null (default): those that are active. */
  adapter_names?: readonly string[] | null;
}

const checkMerging = (call: string, options: MergeOptions): void =>
  checkOptions(call, options, ['safe_merge', 'adapter_names'], { progressbar: false });

/** What the pass makes of traced entries; undefined where it changes nothing. */
export function rewriteOf({ lora }: AdapterEffect): ((traced: Traced) => Traced) | undefined {
  if (lora.uses.length === 0 && (lora.replacements ?? []).length === 0) return undefined;
  return (traced) => ({ ...traced, graph: adapt(traced.graph, lora) });
}

/** A graph that has all modules. */
const graphOf = (opened: OpenedModel): Graph => opened.trace('forward').graph;

/** The adapter that a model with adapters is made for. */
export interface FirstAdapter {
  readonly config: LoraConfig;
  readonly file?: AdapterFile;
}

/** What a model was made of, its checkpoint changed. */
function changed<K extends KindName>(
  { checkpoint, options }: OpenedModel<K>,
  change: CheckpointChange,
): OpenedModel<K> {
  return modelOf(change(checkpoint), { ...options, dtype: null, torch_dtype: null }) as OpenedModel as OpenedModel<K>;
}

export abstract class AdaptedModel<K extends KindName, M extends Models[K]> {
  /** The adapters, for training and for tests. */
  readonly adapters: Adapters;
  /** What the model was made of. */
  protected readonly opened: OpenedModel<K>;
  /** The model without adapters. */
  protected readonly base: M;
  #bound: { readonly version: number; readonly model: Promise<M> } | undefined;

  /**
   * `opened`: what the model was made of. `first`: the configuration of the first adapter, which is then added, and its
   * file, if it has one.
   */
  constructor(base: M, opened: OpenedModel<K>, { config, file }: FirstAdapter) {
    const { layer_replication: ranges } = config;
    const { kind } = opened;
    if (ranges && kind.name !== 'causal-lm') {
      throw new ModelcError('unsupported', 'layer_replication is served for causal language models only');
    }
    const resize = file && resizing(file, modulesOf(graphOf(opened), kind), opened.model.vocabSize);
    if ((ranges || resize) && isOverlaid(opened.weights)) {
      throw new ModelcError(
        'unsupported',
        'layer_replication and resized vocabularies need a model as its folder has it, but this one was trained or changed; save it and load it again',
      );
    }
    this.base = base;
    const resized = resize ? changed(opened, resize) : opened;
    this.opened = ranges ? changed(resized, (checkpoint) => replicateLayers(checkpoint, ranges)) : resized;
    const { model, weights } = this.opened;
    this.adapters = new Adapters({
      modules: modulesOf(graphOf(this.opened), kind),
      modelType: model.modelType,
      vocabSize: model.vocabSize,
      loraTargets: model.loraTargets,
      parameterCount: parameterCount(modulesOf(graphOf(resized))),
      read: (name) => weights.stored(name),
    });
  }

  /** config.json of the model. */
  get config(): Readonly<Record<string, unknown>> {
    return this.opened.checkpoint.config;
  }
  /** The adapters' configurations by name. */
  get peft_config(): Readonly<Record<string, LoraConfig>> {
    return Object.fromEntries([...this.adapters.all].map(([name, adapter]) => [name, adapter.config]));
  }
  /** The name of the first active adapter, '' where none is. */
  get active_adapter(): string {
    return this.adapters.active[0] ?? '';
  }
  /** The names of the active adapters. */
  get active_adapters(): string[] {
    return [...this.adapters.active];
  }
  /** The names of the adapters that are merged into weights. */
  get merged_adapters(): string[] {
    return [...this.adapters.merged];
  }

  // Adapters.

  /** A new adapter, which is not active unless it is the first. */
  async add_adapter(adapter_name: string, config: LoraConfig, options: NewAdapterOptions = {}): Promise<void> {
    checkMaking('add_adapter()', options);
    checkConfig('add_adapter()', config);
    this.#sameLayers(config);
    const heads = headsOf(config.task_type);
    const own = config.modules_to_save ?? [];
    const { dir } = this.opened.checkpoint;
    const complete = config.with({
      base_model_name_or_path: config.base_model_name_or_path ?? dir,
      ...(heads.length > 0 ? { modules_to_save: [...own, ...heads] } : {}),
    });
    await this.adapters.add(adapter_name, complete, options);
  }

  /**
   * The adapter of a folder, which is not active unless it is the first. Tensors of the base in its file take the place of
   * the base's for all adapters, as in PEFT.
   */
  async load_adapter(
    folder: string,
    adapter_name: string,
    options: Omit<LoadAdapterOptions, 'adapter_name'> = {},
  ): Promise<void> {
    checkLoading('load_adapter()', options, ['is_trainable', 'subfolder']);
    const opened = await openAdapter(folder, options.subfolder);
    this.#sameLayers(opened.config);
    await this.adapters.load(opened, adapter_name, options.is_trainable ?? false);
  }

  #sameLayers({ layer_replication: ranges }: LoraConfig): void {
    const [first] = this.adapters.all.values();
    if (!first || ranges === null || JSON.stringify(ranges) === JSON.stringify(first.config.layer_replication)) return;
    throw new ModelcError('input', `the model's layers are those of adapter '${first.name}'; layer_replication of another adapter must be the same or null`); // biome-ignore format: one row
  }

  /** Removes an adapter; where no other is active, the first of the rest becomes so. */
  delete_adapter(adapter_name: string): void {
    this.adapters.delete(adapter_name);
  }

  /** The adapters that are applied from now on; they are trained, unless for inference. */
  set_adapter(adapter_name: string | readonly string[], inference_mode = false): void {
    const names = typeof adapter_name === 'string' ? [adapter_name] : adapter_name;
    this.adapters.setActive(names);
    for (const name of names) this.adapters.get(name).isTrainable = !inference_mode;
  }

  /** Runs the base model from now on. */
  disable_adapters(): void {
    const biased = this.adapters.activeAdapters.find((a) => a.config.bias !== 'none');
    if (biased) {
      warnOnce(`Adapter '${biased.name}' trains biases of the base model, which stay when it is disabled.`);
    }
    this.adapters.enable(false);
  }
  /** Runs the active adapters again. */
  enable_adapters(): void {
    this.adapters.enable(true);
  }

  /** What `body` gives while no adapter is applied. */
  async disable_adapter<T>(body: (model: this) => T | Promise<T>): Promise<T> {
    const wasEnabled = this.adapters.isEnabled;
    this.disable_adapters();
    try {
      return await body(this);
    } finally {
      this.adapters.enable(wasEnabled);
    }
  }

  /** A new adapter that combines others, each with its weight; see combine.ts for the kinds. */
  add_weighted_adapter(
    adapters: readonly string[],
    weights: readonly number[],
    adapter_name: string,
    options: CombineOptions = {},
  ): void {
    if (this.adapters.all.has(adapter_name)) return;
    combineAdapters(this.adapters, adapters, weights, adapter_name, options);
  }

  // Merging.

  /** Folds adapters into the weights that the model reads, until unmerge_adapter(). */
  async merge_adapter(options: MergeOptions = {}): Promise<void> {
    checkMerging('merge_adapter()', options);
    const { safe_merge = false, adapter_names } = options;
    const names = adapter_names ?? this.adapters.active;
    const again = names.filter((name) => this.adapters.merged.includes(name));
    if (again.length > 0) warnOnce(`Already merged, so not merged again: ${again.join(', ')}.`);
    await this.adapters.merge(names, safe_merge);
  }

  /** Takes merged adapters out of the weights: these are as before. */
  unmerge_adapter(): void {
    if (this.adapters.merged.length === 0) warnOnce('No adapter is merged, so there is nothing to unmerge.');
    this.adapters.unmerge();
  }

  /** A plain model with adapters folded into its weights. This model must not be used any more. */
  async merge_and_unload(options: MergeOptions = {}): Promise<M> {
    checkMerging('merge_and_unload()', options);
    const { safe_merge = false, adapter_names } = options;
    await this.adapters.merge(adapter_names ?? this.adapters.active, safe_merge);
    this.adapters.enable(true);
    const merged = await this.#open();
    this.#bound = undefined;
    return merged;
  }

  /** The model without adapters. */
  unload(): M {
    this.dispose();
    return this.base;
  }
  /** The model without adapters. */
  get_base_model(): M {
    return this.base;
  }

  // Files.

  /**
   * Writes adapters as Python's PEFT reads them: the one named 'default' into the folder, others into folders of their
   * names below it.
   */
  async save_pretrained(folder: string, options: SaveOptions = {}): Promise<void> {
    checkOptions('save_pretrained()', options, ['selected_adapters', 'save_embedding_layers'], {
      safe_serialization: true,
      is_main_process: true,
      path_initial_model_for_weight_conversion: null,
      push_to_hub: false,
    });
    return this.adapters.save(folder, options);
  }

  // Parameters.

  /** Numbers of parameters that are trained, and of all. */
  get_nb_trainable_parameters(): [trainable: number, all: number] {
    const { trainable, all } = this.adapters.count();
    return [trainable, all];
  }

  /** Prints how many parameters are trained, of how many. */
  print_trainable_parameters(): void {
    const [trainable, all] = this.get_nb_trainable_parameters();
    const text = (n: number): string => n.toLocaleString('en-US');
    const share = ((100 * trainable) / all).toFixed(4);
    console.log(`trainable params: ${text(trainable)} || all params: ${text(all)} || trainable%: ${share}`);
  }

  /** What a Trainer needs to train the active adapters; it throws where none of them is trainable. */
  get trainable(): TrainableModel {
    const { adapters } = this;
    const { kind, checkpoint, model, limits, weights, target, device } = this.opened;
    return {
      ...adaptTask(model.task, weights, adapters),
      target,
      ...(device ? { device } : {}),
      maxPositions: kind.trainedPositions(model, limits),
      config: checkpoint.config,
      generationConfig: checkpoint.generationConfig,
      write: (folder) => adapters.save(folder, {}),
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

  /** The model with the adapters as they are now. */
  protected current(): Promise<M> {
    const { version } = this.adapters;
    if (this.#bound?.version !== version) {
      const old = this.#bound;
      this.#bound = { version, model: this.#open() };
      old?.model.then((model) => model.dispose()).catch(() => undefined);
    }
    return this.#bound.model;
  }

  async #open(): Promise<M> {
    const effect = await this.adapters.effect();
    return (await loadModel(rewritten(this.opened, effect.tensors, rewriteOf(effect)))) as M;
  }

  /** Frees the code and memory of this model; the model that it was made from stays. */
  dispose(): void {
    this.#bound?.model.then((model) => model.dispose()).catch(() => undefined);
    this.#bound = undefined;
  }
}
