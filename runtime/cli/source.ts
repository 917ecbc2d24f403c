// What `compile` and `inspect` are given: a checkpoint folder, or a file with the textual IR of one graph. Either way
// they get traced entries, which the compiler takes.
import { readFileSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import type { Traced } from '../../frontends/dsl/trace.ts';
import { causalLM, openCheckpoint } from '../../frontends/huggingface/index.ts';
import { parseGraph } from '../../frontends/text/index.ts';
import { dimEval } from '../../ir/dim.ts';
import { ModelcError } from '../../ir/error.ts';

export interface Source {
  readonly name: string;
  readonly entries: Readonly<Record<string, Traced>>;
}

const limit = 256 * 2 ** 20;

function readText(path: string): string {
  const { size } = statSync(path);
  if (size > limit) throw new ModelcError('input', `${path} has ${size} bytes; textual IR is read up to ${limit}`);
  return readFileSync(path, 'utf8');
}

/** A graph from a file, as the only entry of a program. Its constants have no data in text: they are zeros. */
export function readGraph(path: string): Source {
  const graph = parseGraph(readText(path), path);
  const constants = new Map<string, Float32Array>();
  for (const { attrs, type } of graph.params) {
    const size = (): number => type.shape.reduce((n, d) => n * dimEval(d, {}), 1);
    if (attrs.kind === 'constant') constants.set(attrs.name, new Float32Array(size()));
  }
  return { name: basename(path), entries: { [graph.name]: { graph, constants } } };
}
