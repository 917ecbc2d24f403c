// Mutations of JSON by its structure: values are replaced by hostile ones or by parts of other seeds, keys are dropped,
// renamed, doubled and exchanged. And of any text, where it is what is broken.
import { hostileNumber, hostileText, hostileValue, names, Raw } from './hostile-values.ts';
import type { Random } from './random.ts';

type Json = unknown;
interface Place {
  readonly parent: Json[] | Record<string, Json>;
  readonly key: string;
}

const isTree = (value: Json): value is Json[] | Record<string, Json> =>
  typeof value === 'object' && value !== null && !(value instanceof Raw);

/** Every place of a tree that holds a value. Large lists (vocabularies) have no more than their share. */
function placesOf(tree: Json, random: Random, found: Place[] = []): Place[] {
  if (!isTree(tree)) return found;
  const keys = Object.keys(tree);
  const chosen = keys.length > 40 ? random.list(20, () => random.pick(keys)) : keys;
  for (const key of chosen) {
    found.push({ parent: tree, key });
    placesOf((tree as Record<string, Json>)[key], random, found);
  }
  return found;
}

const get = ({ parent, key }: Place): Json => (parent as Record<string, Json>)[key];
const set = ({ parent, key }: Place, value: Json): void => {
  Object.defineProperty(parent, key, { value, writable: true, enumerable: true, configurable: true });
};

/** A changed copy. `others`: seeds that parts are taken from. */
export function mutateTree(seed: Json, random: Random, others: readonly Json[] = []): Json {
  const tree = structuredClone(seed);
  for (let n = random.few(); n > 0; n--) {
    const places = placesOf(tree, random);
    if (places.length === 0) return hostileValue(random);
    change(random.pick(places), places, random, others);
  }
  return random.chance(0.01) ? hostileValue(random) : tree;
}

function change(place: Place, places: readonly Place[], random: Random, others: readonly Json[]): void {
  const { parent, key } = place;
  const value = get(place);
  switch (random.below(10)) {
    case 0:
      if (Array.isArray(parent)) parent.splice(Number(key), 1);
      else delete parent[key];
      return;
    case 1: {
      if (Array.isArray(parent)) return void parent.push(structuredClone(value));
      delete parent[key];
      const known = places.filter((p) => !Array.isArray(p.parent)).map((p) => p.key);
      return set({ parent, key: random.chance(0.5) ? random.pick(names) : random.pick(known) }, value);
    }
    case 2: {
      const other = random.pick(places);
      const taken = get(other);
      // a part that holds the other would hold itself
      if (isTree(taken) || isTree(value)) return set(place, structuredClone(taken));
      set(other, value);
      return set(place, taken);
    }
    case 3: {
      const donor = others.length > 0 ? placesOf(random.pick(others), random) : [];
      if (donor.length === 0) return set(place, hostileValue(random));
      const part = random.pick(donor);
      return set(
        random.chance(0.5) || Array.isArray(parent) ? place : { parent, key: part.key },
        structuredClone(get(part)),
      );
    }
    case 4:
    case 5:
      if (typeof value === 'number')
        return set(place, value + random.pick([1, -1, 0.5, value, -2 * value, hostileNumber(random)]));
      if (typeof value === 'string') return set(place, mutateText(value, random));
      return set(place, hostileValue(random));
    default:
      return set(place, hostileValue(random));
  }
}

/** JSON, with what is Raw as it stands, and now and then a key twice. */
export function printTree(value: Json, random: Random): string {
  const write = (v: Json): string => {
    if (v instanceof Raw) return v.text;
    if (Object.is(v, -0)) return '-0';
    if (!isTree(v)) return JSON.stringify(v) ?? 'null';
    if (Array.isArray(v)) return `[${v.map(write).join()}]`;
    const entries = Object.entries(v).map(([key, item]) => `${JSON.stringify(key)}:${write(item)}`);
    if (entries.length > 0 && random.chance(0.005)) entries.push(random.pick(entries));
    return `{${entries.join()}}`;
  };
  const text = write(value);
  return random.chance(0.03) ? mutateText(text, random) : text;
}

/** A JSON text that is changed by its structure. */
export const mutateJson = (seed: Json, random: Random, others: readonly Json[] = []): string =>
  printTree(mutateTree(seed, random, others), random);

const tokens = /\s+|[\p{L}\p{N}_]+|./gsu;

/** Text that is changed by its words: dropped, doubled, exchanged, replaced by hostile ones, cut. */
export function mutateText(text: string, random: Random, others: readonly string[] = []): string {
  const words = text.match(tokens) ?? [];
  for (let n = random.few(); n > 0; n--) {
    const at = random.below(words.length + 1);
    const donor = others.length > 0 ? (random.pick(others).match(tokens) ?? []) : words;
    switch (random.below(8)) {
      case 0:
        words.splice(at, random.few());
        break;
      case 1:
        words.splice(at, 0, ...words.slice(at, at + random.few()));
        break;
      case 2:
        words.splice(at, 1, random.pick(words) ?? '');
        break;
      case 3: {
        const from = random.below(donor.length + 1);
        words.splice(at, random.below(4), ...donor.slice(from, from + 1 + random.below(12)));
        break;
      }
      case 4:
        words.splice(at, 1, String(hostileNumber(random)));
        break;
      case 5:
        if (random.chance(0.2)) words.length = at;
        break;
      default:
        words.splice(at, random.below(2), hostileText(random));
    }
  }
  return words.join('');
}
