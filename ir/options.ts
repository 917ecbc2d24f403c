// Options of public calls: every key that a call is given is served or refused, so that none is passed over in silence.
import { closest, distance } from 'fastest-levenshtein';
import { ModelcError } from './error.ts';

/** The one of `names` that `name` is most likely meant to be, if one is near. */
export function nearestName(name: string, names: readonly string[]): string | undefined {
  if (names.length === 0) return undefined;
  const plain = (text: string): string => text.toLowerCase().replaceAll(/[_-]/g, '');
  const same = names.find((known) => plain(known) === plain(name));
  if (same !== undefined) return same;
  const found = closest(name, [...names]);
  if (distance(name, found) <= Math.max(1, Math.floor(name.length / 3))) return found;
  // `max_tokens` is nearest to `max_new_tokens`: the shortest name that has all of its words
  const words = wordsOf(name);
  if (words.length < 2) return undefined;
  const holding = names.filter((known) => words.every((word) => wordsOf(known).includes(word)));
  return holding.sort((a, b) => a.length - b.length)[0];
}

const wordsOf = (name: string): string[] =>
  name
    .replaceAll(/([a-z])([A-Z])/g, '$1_$2')
    .toLowerCase()
    .split(/[_-]/);

/** ' Did you mean `padding`?', or '' if no name is near. */
export function suggestion(name: string, names: readonly string[]): string {
  const near = nearestName(name.slice(0, 100), names);
  return near === undefined ? '' : `; did you mean \`${near}\`?`;
}

const shown = (name: string): string => (name.length > 60 ? `${name.slice(0, 60)}…` : name);

/**
 * Refuses keys of `options` that `call` does not serve. `served`: those that it takes. `unserved`: those that users may
 * know from elsewhere, with the value that asks for nothing and so may be given. undefined asks for nothing, and null
 * where a name is known. Throws ModelcError 'input' for a key that nobody knows, with the nearest known name, and
 * 'unsupported' for one of `unserved`.
 */
export function checkOptions(
  call: string,
  options: unknown,
  served: readonly string[],
  unserved: Readonly<Record<string, unknown>> = {},
): void {
  if (options === undefined || options === null) return;
  if (typeof options !== 'object' || Array.isArray(options)) {
    throw new ModelcError(
      'input',
      `the options of ${call} must be an object${served.length > 0 ? ` such as { ${served[0]}: … }` : ''}`,
    );
  }
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined || served.includes(name)) continue;
    if (!Object.hasOwn(unserved, name)) {
      const near = suggestion(name, [...served, ...Object.keys(unserved)]);
      throw new ModelcError(
        'input',
        `${call} does not know the option \`${shown(name)}\`${near || (served.length > 0 ? `; it takes ${served.join(', ')}` : '; it takes none')}`,
      );
    }
    if (value === null || value === unserved[name]) continue;
    throw new ModelcError('unsupported', `${call} does not serve the option \`${name}\`; leave it out`);
  }
}
