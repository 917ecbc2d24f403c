// Which modules of a model an adapter changes, resolved as PEFT does: by names and ends of names, by one regular expression
// over whole names, all linear layers, or the usual ones of the model's type.
import { ModelcError } from '../../ir/error.ts';
import type { LoraConfig } from './config.ts';
import { TaskType } from './config-options.ts';
import type { MatrixModule, ModelModules } from './modules.ts';
import { pythonPattern } from './python-pattern.ts';

/** Heads of classifiers, which are trained whole with an adapter for such a task. */
const taskHeads: Readonly<Partial<Record<TaskType, readonly string[]>>> = {
  [TaskType.SEQ_CLS]: ['classifier', 'score'],
  [TaskType.TOKEN_CLS]: ['classifier', 'score'],
  [TaskType.QUESTION_ANS]: ['qa_outputs'],
};
const allHeads = new Set(Object.values(taskHeads).flat());

/** The heads that a task adds to modules_to_save. */
export const headsOf = (task: TaskType | null): readonly string[] => (task && taskHeads[task]) || [];

const endsIn = (name: string, end: string): boolean => name === end || name.endsWith(`.${end}`);

/** A configuration whose target_modules are known: those of the model's type, or the names of all linear layers. */
export function withTargets(
  config: LoraConfig,
  modules: ModelModules,
  { modelType, loraTargets }: { readonly modelType: string; readonly loraTargets: readonly string[] | undefined },
): LoraConfig {
  const { target_modules: targets } = config;
  if (targets === null) {
    if (loraTargets) return config.with({ target_modules: loraTargets });
    if (config.trainable_token_indices !== null || (config.modules_to_save?.length ?? 0) > 0) {
      return config.with({ target_modules: [] });
    }
    throw new ModelcError(
      'input',
      `\`target_modules\` must be given, because models of type '${modelType}' have no usual ones; ${available(modules)}`,
    );
  }
  if (typeof targets !== 'string' || targets.toLowerCase() !== 'all-linear') return config;
  const heads = config.task_type === TaskType.SEQ_CLS && modules.head === undefined ? headsOf(config.task_type) : [];
  const linear = [...modules.matrices.values()].filter((m) => m.use === 'product' && m.name !== modules.head);
  const kept = linear.filter((m) => !heads.includes(m.name)).map((m) => m.name);
  return config.with({ target_modules: kept });
}

const available = ({ matrices }: ModelModules): string => {
  const ends = new Set([...matrices.keys()].map((name) => name.slice(name.lastIndexOf('.') + 1)));
  return `there are ${[...ends].join(', ')}`;
};

/** The layer that a module is in: the first number in its path, or the one behind a name of `pattern`. */
function layerOf(name: string, pattern: LoraConfig['layers_pattern']): number | undefined {
  const patterns =
    pattern === null || pattern.length === 0 ? ['[^.]*'] : typeof pattern === 'string' ? [pattern] : pattern;
  for (const p of patterns) {
    const start = p === '[^.]*' ? '.*?\\.' : '(?:.*?\\.)?';
    const match = pythonPattern(`${start}${p}\\.(?P<layer>\\d+)\\..*`).exec(name);
    if (match?.groups) return Number(match.groups.layer);
  }
  return undefined;
}

type Match = 'target' | 'excluded' | 'other';

function matchOf(name: string, config: LoraConfig): Match {
  const { target_modules: targets, exclude_modules: excluded, layers_to_transform: layers } = config;
  const isExcluded =
    typeof excluded === 'string' ? pythonPattern(excluded).test(name) : excluded?.some((end) => endsIn(name, end));
  if (isExcluded) return 'excluded';
  if (config.modules_to_save?.some((m) => pythonPattern(`(?:|.*\\.)${m}(?:|\\..*)`).test(name))) return 'excluded';
  if (targets === null) return 'other';
  if (typeof targets === 'string') return pythonPattern(targets).test(name) ? 'target' : 'other';
  if (targets.includes(name)) return 'target';
  if (!targets.some((end) => name.endsWith(`.${end}`))) return 'other';
  const chosen = typeof layers === 'number' ? [layers] : (layers ?? []);
  if (chosen.length === 0) return 'target';
  const layer = layerOf(name, config.layers_pattern);
  return layer !== undefined && chosen.includes(layer) ? 'target' : 'other';
}

/**
 * The modules that a configuration with known targets changes. Throws ModelcError 'input' where it matches none, and
 * 'unsupported' where it matches what is neither a linear layer nor an embedding.
 */
export function targetsOf(config: LoraConfig, modules: ModelModules): MatrixModule[] {
  const matches = modules.names.map((name) => ({ name, match: matchOf(name, config) }));
  const found = matches.filter(({ match }) => match === 'target');
  const { target_modules: targets } = config;
  const what = typeof targets === 'string' ? `'${targets}'` : (targets ?? []).join(', ');
  if (found.length === 0 && targets !== null && targets.length > 0) {
    const isExcluded = matches.some(({ match }) => match === 'excluded');
    const hint = isExcluded ? '; some were excluded by exclude_modules or modules_to_save' : '';
    throw new ModelcError('input', `target_modules ${what} match no module of the model${hint}; ${available(modules)}`);
  }
  return found.map(({ name }) => {
    const module = modules.matrices.get(name);
    if (module) return module;
    throw new ModelcError(
      'unsupported',
      `target_modules match ${name}, which is neither a linear layer nor an embedding; ${available(modules)}`,
    );
  });
}

/** A module that is trained whole: the parameters below it. */
export interface SavedModule {
  readonly name: string;
  readonly parameters: readonly string[];
}

/** The modules that modules_to_save names: those whose paths end in one of them, as PEFT matches (without a dot). */
export function savedModulesOf(config: LoraConfig, modules: ModelModules): SavedModule[] {
  const saved: SavedModule[] = [];
  const ends = [...new Set(config.modules_to_save ?? [])];
  for (const name of modules.names) {
    if (!ends.some((end) => name.endsWith(end)) || saved.some((s) => name.startsWith(`${s.name}.`))) continue;
    const below = [...modules.parameters.keys()].filter((p) => p.startsWith(`${name}.`));
    const own = modules.matrices.get(name);
    saved.push({ name, parameters: below.length > 0 || !own ? below : [own.weight] });
  }
  for (const end of ends) {
    if (allHeads.has(end) || saved.some(({ name }) => name.endsWith(end))) continue;
    throw new ModelcError(
      'input',
      `modules_to_save names ${end}, but the model has no such module; ${available(modules)}`,
    );
  }
  return saved;
}

/** Rows of an embedding that are trained. */
export interface TokenRows {
  readonly module: MatrixModule;
  readonly indices: readonly number[];
}

/** The embeddings that trainable_token_indices names; a plain list is for the one with a row per token. */
export function tokenRowsOf(config: LoraConfig, modules: ModelModules, vocabSize: number): TokenRows[] {
  const { trainable_token_indices: given } = config;
  if (given === null) return [];
  const lookups = [...modules.matrices.values()].filter((m) => m.use === 'lookup');
  const rowsOf = (module: MatrixModule | undefined, indices: readonly number[], what: string): TokenRows => {
    if (!module)
      throw new ModelcError('input', `trainable_token_indices names ${what}, which is no embedding of the model`);
    const beyond = indices.find((i) => i >= module.in);
    if (beyond !== undefined || new Set(indices).size < indices.length || indices.length === 0) {
      const problem = beyond === undefined ? 'none, or one twice' : `token ${beyond}`;
      throw new ModelcError(
        'input',
        `trainable_token_indices of ${module.name} has ${problem}; give different ids below ${module.in}`,
      );
    }
    return { module, indices };
  };
  if (Array.isArray(given)) {
    return [rowsOf(inputEmbedding(modules, vocabSize), given as readonly number[], 'tokens')];
  }
  return Object.entries(given as Readonly<Record<string, readonly number[]>>).map(([end, indices]) =>
    rowsOf(
      lookups.find((m) => endsIn(m.name, end)),
      indices,
      end,
    ),
  );
}

/** The token embeddings: the first table with a row per token. */
export const inputEmbedding = ({ matrices }: ModelModules, vocabSize: number): MatrixModule | undefined =>
  [...matrices.values()].find((m) => m.use === 'lookup' && m.in === vocabSize);
