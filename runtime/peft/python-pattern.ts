// Regular expressions as Python writes them, for matching names of modules.
import { quote } from '../../frontends/huggingface/json.ts';
import { ModelcError } from '../../ir/error.ts';

/** Longer than any pattern that somebody wrote. */
const longest = 4096;

/** A pattern that matches whole names, as re.fullmatch does. Throws ModelcError 'input' for one that is no pattern. */
export function pythonPattern(pattern: string): RegExp {
  if (pattern.length > longest) {
    throw new ModelcError(
      'input',
      `the pattern ${quote(pattern)} has ${pattern.length} characters; at most ${longest}`,
    );
  }
  try {
    return new RegExp(`^(?:${pattern.replaceAll('(?P<', '(?<')})$`, 's');
  } catch (cause) {
    throw new ModelcError('input', `${quote(pattern)} is no regular expression; write one as Python does`, { cause });
  }
}

/** The key of `patterns` that matches the end of a name at a dot, as PEFT looks up ranks and alphas. */
export const patternFor = (patterns: Readonly<Record<string, unknown>>, name: string): string | undefined =>
  Object.keys(patterns).find((pattern) => pythonPattern(`(?:.*\\.)?(?:${pattern})`).test(name));
