// How a weight of a compiled program is made from a tensor of the checkpoint. Passes that lay weights out replace a weight
// by others whose names end in the recipe, `NAME|transpose(1,0)|slice(0,512)`; whoever loads weights carries it out.

export interface WeightRecipe {
  /** The tensor of the checkpoint. */
  readonly source: string;
  /** Axis i of the permuted tensor is axis perm[i] of the source; absent when they are in its order. */
  readonly perm?: readonly number[];
  /** The positions along the first axis, after the permutation, that the weight consists of; absent when it has all. */
  readonly rows?: readonly [start: number, end: number];
}

const step = (name: string, list: number) => new RegExp(`\\|${name}\\((\\d{1,15}(?:,\\d{1,15}){0,${list - 1}})\\)$`);
const slice = step('slice', 2);
const transpose = step('transpose', 16);

/** Reads the recipe in a weight's name; a name without one is its own source. */
export function recipeOf(name: string): WeightRecipe {
  const cut = slice.exec(name);
  const [start, end] = cut ? cut[1].split(',').map(Number) : [];
  const isCut = cut !== null && start < end;
  const rest = isCut ? name.slice(0, cut.index) : name;
  const permuted = transpose.exec(rest);
  const perm = permuted ? permuted[1].split(',').map(Number) : [];
  const isPermuted = permuted && new Set(perm).size === perm.length && perm.every((p) => p < perm.length);
  return {
    source: isPermuted ? rest.slice(0, permuted.index) : rest,
    ...(isPermuted ? { perm } : {}),
    ...(isCut ? { rows: [start, end] as const } : {}),
  };
}

/** The name of the weight that a recipe makes. */
export function recipeName({ source, perm, rows }: WeightRecipe): string {
  const isMoved = perm?.some((p, i) => p !== i) ?? false;
  return `${source}${isMoved ? `|transpose(${perm!.join()})` : ''}${rows ? `|slice(${rows.join()})` : ''}`;
}
