// One adapter on a model: what it changes, and the tensors that it consists of. A tensor has three names: its param in a
// graph, which is PEFT's name of the parameter (…lora_A.default.weight); the key in adapter_model.safetensors, which lacks
// the adapter's name (…lora_A.weight); and, for a bias of the base that is trained, the base's own name.
import { ModelcError } from '../../ir/error.ts';
import type { LoraTerm, LoraUse, Replacement } from '../../passes/lora.ts';
import type { LoraConfig } from './config.ts';
import type { MatrixModule, ModelModules } from './modules.ts';
import { patternFor } from './python-pattern.ts';
import { type SavedModule, savedModulesOf, type TokenRows, targetsOf, tokenRowsOf, withTargets } from './targets.ts';
import type { ReadWeight } from './weights.ts';

/** What stands before the path of a module in PEFT's names. */
export const prefix = 'base_model.model.';

export interface AdapterTarget {
  readonly module: MatrixModule;
  readonly rank: number;
  readonly scaling: number;
}

/** Low-rank factors and what goes with them; a whole parameter of the base; rows of a table; a bias of the base. */
export type TensorRole = 'a' | 'b' | 'bias' | 'magnitude' | 'saved' | 'rows' | 'base_bias';

export interface AdapterTensor {
  readonly role: TensorRole;
  /** The param that holds it. */
  readonly param: string;
  /** Its name in PEFT's model. */
  readonly name: string;
  /** Its key in the file. */
  readonly key: string;
  readonly shape: readonly number[];
  /** What of the base it belongs to: the module of a target, or a parameter. */
  readonly of: string;
}

export interface Adapter {
  readonly name: string;
  readonly config: LoraConfig;
  readonly targets: readonly AdapterTarget[];
  readonly saved: readonly SavedModule[];
  readonly tokens: readonly TokenRows[];
  readonly tensors: readonly AdapterTensor[];
  /** Whether its parameters are trained while it is active. */
  isTrainable: boolean;
}

export const inModel = (module: string, rest: string): string => `${prefix}${module}.${rest}`;

/** The names of a target's tensors. */
function targetTensors(adapter: string, config: LoraConfig, { module, rank }: AdapterTarget): AdapterTensor[] {
  const tensor = (role: TensorRole, inName: string, inKey: string, shape: readonly number[]): AdapterTensor => ({
    role,
    param: inModel(module.name, inName),
    name: inModel(module.name, inName),
    key: inModel(module.name, inKey),
    shape,
    of: module.name,
  });
  const [a, b] = [[rank, module.in], [module.out, rank]]; // biome-ignore format: one row
  const factors =
    module.use === 'lookup'
      ? [
          tensor('a', `lora_embedding_A.${adapter}`, 'lora_embedding_A', a),
          tensor('b', `lora_embedding_B.${adapter}`, 'lora_embedding_B', b),
        ]
      : [
          tensor('a', `lora_A.${adapter}.weight`, 'lora_A.weight', a),
          tensor('b', `lora_B.${adapter}.weight`, 'lora_B.weight', b),
        ];
  const isBiased = config.lora_bias && module.use === 'product';
  return [
    ...factors,
    ...(isBiased ? [tensor('bias', `lora_B.${adapter}.bias`, 'lora_B.bias', [module.out])] : []),
    ...(config.use_dora
      ? [tensor('magnitude', `lora_magnitude_vector.${adapter}.weight`, 'lora_magnitude_vector', [module.out])]
      : []),
  ];
}

/** The biases of the base that an adapter trains. */
function trainedBiases({ bias }: LoraConfig, targets: readonly AdapterTarget[], modules: ModelModules): string[] {
  if (bias === 'none') return [];
  if (bias === 'lora_only') return targets.flatMap(({ module }) => (module.bias ? [module.bias] : []));
  return [...modules.parameters.keys()].filter((name) => name === 'bias' || name.endsWith('.bias'));
}

/** The model that adapters are on. */
export interface AdaptedModel {
  readonly modules: ModelModules;
  readonly modelType: string;
  readonly vocabSize: number;
  /** The modules that are adapted where a configuration names none. */
  readonly loraTargets: readonly string[] | undefined;
  /** Numbers in its weights, each counted once. */
  readonly parameterCount: number;
  readonly read: ReadWeight;
}

/** Resolves a configuration on a model. Throws ModelcError as the functions of targets.ts do. */
export function adapterOf(
  name: string,
  given: LoraConfig,
  modules: ModelModules,
  model: Pick<AdaptedModel, 'modelType' | 'vocabSize' | 'loraTargets'>,
): Adapter {
  const config = withTargets(given, modules, model);
  const targets = targetsOf(config, modules).map((module) => targetOf(module, config));
  const saved = savedModulesOf(config, modules);
  const tokens = tokenRowsOf(config, modules, model.vocabSize);
  checkTying(config, [...targets.map((t) => t.module), ...saved.flatMap((s) => modules.matrices.get(s.name) ?? [])]);
  const targeted = new Set(targets.map(({ module }) => module.name));
  const savedParameters = new Set(saved.flatMap((s) => s.parameters));
  const biases = trainedBiases(config, targets, modules).filter((b) => !savedParameters.has(b));
  const tensors: AdapterTensor[] = [
    ...targets.flatMap((target) => targetTensors(name, config, target)),
    ...tokens.map(({ module, indices }): AdapterTensor => {
      const param = inModel(module.name, `token_adapter.trainable_tokens_delta.${name}`);
      const key = inModel(module.name, 'token_adapter.trainable_tokens_delta');
      return { role: 'rows', param, name: param, key, shape: [indices.length, module.out], of: module.name };
    }),
    ...saved.flatMap((module) =>
      module.parameters.map((of): AdapterTensor => {
        // A tied module has no parameter below its own path.
        const rest = of.startsWith(`${module.name}.`) ? of.slice(module.name.length + 1) : 'weight';
        const param = inModel(module.name, `modules_to_save.${name}.${rest}`);
        const shape = modules.parameters.get(of)!;
        return { role: 'saved', param, name: param, key: inModel(module.name, rest), shape, of };
      }),
    ),
    ...biases.map((of): AdapterTensor => {
      const module = of.slice(0, -'.bias'.length);
      const key = targeted.has(module) ? inModel(module, 'base_layer.bias') : `${prefix}${of}`;
      return { role: 'base_bias', param: of, name: key, key, shape: modules.parameters.get(of)!, of };
    }),
  ];
  // As GPT-2 stores its weights; PEFT corrects the field in the same way.
  const linear = targets.filter(({ module }) => module.use === 'product');
  const fan_in_fan_out = linear.length > 0 && linear.every(({ module }) => module.fanInFanOut);
  return { name, config: config.with({ fan_in_fan_out }), targets, saved, tokens, tensors, isTrainable: !config.inference_mode }; // biome-ignore format: one row
}

/** Throws ModelcError 'unsupported' where an adapter of one of two tied tables is to be tied as well. */
function checkTying({ ensure_weight_tying }: LoraConfig, changed: readonly MatrixModule[]): void {
  const tied = changed.find((module) => module.isTied);
  if (!ensure_weight_tying || !tied) return;
  throw new ModelcError(
    'unsupported',
    `ensure_weight_tying is not served for ${tied.name}, which shares its weight; leave it false, or the module out`,
  );
}

function targetOf(module: MatrixModule, config: LoraConfig): AdapterTarget {
  const [r, a] = [patternFor(config.rank_pattern, module.name), patternFor(config.alpha_pattern, module.name)];
  const rank = r === undefined ? config.r : config.rank_pattern[r];
  const alpha = a === undefined ? config.lora_alpha : config.alpha_pattern[a];
  return { module, rank, scaling: alpha / (config.use_rslora ? Math.sqrt(rank) : rank) };
}

/** The tensor of a target in a role. */
export const tensorFor = (adapter: Adapter, module: string, role: TensorRole): AdapterTensor | undefined =>
  adapter.tensors.find((t) => t.of === module && t.role === role);

/** The i32 param with the ids of an adapter's rows. */
export const indicesParam = (adapter: string, module: string): string =>
  inModel(module, `token_adapter.token_indices.${adapter}`);

/** What adapters that are active together change, for the pass. `columns`: each holds for some rows of a batch only. */
export function usesOf(adapters: readonly Adapter[], perRow = false): LoraUse[] {
  const uses = new Map<
    string,
    { weight: string; use: LoraUse['use']; terms: LoraTerm[]; rows: LoraUse['rows'] & object }
  >();
  const useFor = ({ weight, use }: Pick<LoraUse, 'weight' | 'use'>) => {
    const key = `${use} ${weight}`;
    const known = uses.get(key) ?? { weight, use, terms: [], rows: [] };
    uses.set(key, known);
    return known;
  };
  adapters.forEach((adapter, column) => {
    for (const { module, rank, scaling } of adapter.targets) {
      const param = (role: TensorRole): string | undefined => tensorFor(adapter, module.name, role)?.param;
      const [bias, magnitude] = [param('bias'), param('magnitude')];
      useFor(module).terms.push({
        a: param('a')!,
        b: param('b')!,
        rank,
        scaling,
        dropout: adapter.config.lora_dropout,
        ...(bias === undefined ? {} : { bias }),
        ...(magnitude === undefined ? {} : { magnitude }),
        ...(perRow ? { column } : {}),
      });
    }
    for (const { module, indices } of adapter.tokens) {
      const values = tensorFor(adapter, module.name, 'rows')!.param;
      const row = { indices: indicesParam(adapter.name, module.name), values, count: indices.length };
      useFor(module).rows = [...useFor(module).rows, row];
      // Tied tables show the rows in both their uses.
      if (module.isTied) {
        const head = useFor({ weight: module.weight, use: 'product' });
        head.rows = [...head.rows, row];
      }
    }
  });
  return [...uses.values()];
}

/** The parameters of the base in whose place active adapters have their own, where the model reads these. */
export function replacementsOf(adapters: readonly Adapter[], modules: ModelModules): Replacement[] {
  return adapters.flatMap((adapter) =>
    adapter.saved.flatMap(({ name, parameters }) => {
      if (modules.isBypassed(name)) return [];
      const matrix = modules.matrices.get(name);
      return parameters.map((weight): Replacement => {
        const copies = inModel(name, `modules_to_save.${adapter.name}.`);
        const by = adapter.tensors.find((t) => t.of === weight && t.param.startsWith(copies))!.param;
        return matrix?.isTied && matrix.weight === weight ? { weight, by, use: matrix.use } : { weight, by };
      });
    }),
  );
}
