// Regular expressions as Python writes them, for matching names of modules. They come from files, too, so one that could be
// tried for years is refused.
import { quote } from '../../frontends/huggingface/json.ts';
import { ModelcError } from '../../ir/error.ts';

/** Longer than any pattern that somebody wrote. */
const longest = 4096;

/** Each repetition can end anywhere in a name, so their number bounds the ways to try. */
const mostRepetitions = 8;

/** Throws ModelcError 'unsupported' for a pattern whose matching may take a time that grows without reason. */
function checkEffort(pattern: string): void {
  const fail = (what: string): never => {
    throw new ModelcError('unsupported', `the pattern ${quote(pattern)} ${what}; write a simpler one`);
  };
  if (pattern.length > longest) fail(`has ${pattern.length} characters, and at most ${longest} are served`);
  const plain = pattern.replace(/\\[\s\S]/g, 'x').replace(/\[[^\]]*\]/g, 'x');
  /** Of every open group, and of the one that was closed last: whether there is a choice or a repetition in it. */
  const open: boolean[] = [];
  let closed = false;
  let repetitions = 0;
  for (const [i, c] of [...plain].entries()) {
    const repeats = c === '*' || c === '+' || (c === '{' && /^\{\d*,?\d*\}/.test(plain.slice(i, i + 16)));
    if (repeats && ++repetitions > mostRepetitions) fail(`has more than ${mostRepetitions} repetitions`);
    if (repeats && closed && plain[i - 1] === ')') fail('repeats a group with a choice or a repetition in it');
    if (c === '(') open.push(false);
    if (c === ')') closed = open.pop() ?? false;
    const isInner = repeats || c === '|' || (c === ')' && closed);
    if (isInner && open.length > 0) open[open.length - 1] = true;
  }
}

/** A pattern that matches whole names, as re.fullmatch does. Throws ModelcError 'input' for one that is no pattern. */
export function pythonPattern(pattern: string): RegExp {
  checkEffort(pattern);
  try {
    return new RegExp(`^(?:${pattern.replaceAll('(?P<', '(?<')})$`, 's');
  } catch (cause) {
    throw new ModelcError('input', `${quote(pattern)} is no regular expression; write one as Python does`, { cause });
  }
}

/** The key of `patterns` that matches the end of a name at a dot, as PEFT looks up ranks and alphas. */
export const patternFor = (patterns: Readonly<Record<string, unknown>>, name: string): string | undefined =>
  Object.keys(patterns).find((pattern) => pythonPattern(`(?:.*\\.)?(?:${pattern})`).test(name));
