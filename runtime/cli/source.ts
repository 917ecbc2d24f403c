// What `compile --from` and `inspect` are given: a checkpoint folder, or a file with the textual IR of one graph. Either
// way they get traced entries, which the compiler takes.
import { readFileSync, statSync } from 'node:fs';
import type { Traced } from '../../frontends/dsl/index.ts';
import { parseGraph } from '../../frontends/text/index.ts';
import { dimEval } from '../../ir/dim.ts';
import { ModelcError } from '../../ir/error.ts';
import type { Target } from '../../ir/target.ts';
import type { CacheSpec } from '../../passes/cache-layout.ts';
import { devices } from '../execution/devices.ts';
import { fitting, type OpenedModel, openModel } from '../models/open.ts';

export interface Source {
  readonly name: string;
  readonly entries: readonly string[];
  trace(entry: string): Traced;
  readonly cache: CacheSpec;
  /** The source as it fits a target. */
  fit(target: Target): Source;
}

const limit = 256 * 2 ** 20;

function statOf(path: string): ReturnType<typeof statSync> {
  try {
    return statSync(path);
  } catch (cause) {
    throw new ModelcError('input', `${path} does not exist; name a checkpoint folder or a file with textual IR`, {
      cause,
    });
  }
}

/**
 * A graph from a file, as the only entry of a program. Text carries no data of constants: `data` has it by name, and it is
 * an error if that lacks one; without `data` they are zeros, which is enough to look at code.
 */
export function readGraph(path: string, data?: ReadonlyMap<string, Float32Array>): Source {
  const info = statOf(path);
  if (!info?.isFile() || info.size > limit) {
    throw new ModelcError('input', `${path} is no file of at most ${limit} bytes; name a file with textual IR`);
  }
  const graph = parseGraph(readFileSync(path, 'utf8'), path);
  const constants = new Map<string, Float32Array>();
  for (const { attrs, type } of graph.params) {
    if (attrs.kind !== 'constant') continue;
    const size = type.shape.reduce((n, d) => n * dimEval(d, {}), 1);
    const values = data ? data.get(attrs.name) : new Float32Array(size);
    if (values?.length !== size) {
      throw new ModelcError(
        'input',
        `${path}: text has no data for the constant '${attrs.name}'; name the checkpoint folder that it came from as well`,
      );
    }
    constants.set(attrs.name, values);
  }
  const source: Source = {
    name: graph.name,
    entries: [graph.name],
    trace: () => ({ graph, constants }),
    cache: { store: 'f32' },
    fit: () => source,
  };
  return source;
}

export async function openSource(path: string, cache: 'dynamic' | 'static'): Promise<Source> {
  if (!statOf(path)?.isDirectory()) return readGraph(path);
  return sourceOf(await openModel(path, cache === 'static' ? { cache_implementation: cache } : {}));
}

const sourceOf = (opened: OpenedModel, trace = opened.trace): Source => ({
  name: opened.model.modelType,
  entries: [...new Set([...opened.kind.artifactEntries(devices.cpu.entries), 'forward'])],
  trace,
  cache: opened.cache,
  fit: (target) => sourceOf(opened, fitting(opened, target)),
});

/** Data of the constants of a checkpoint's model, by name. */
export async function constantsOf(folder: string): Promise<ReadonlyMap<string, Float32Array>> {
  const opened = await openModel(folder);
  const [entry] = opened.kind.entries(devices.cpu.entries).slice(-1);
  return opened.trace(entry).constants;
}
