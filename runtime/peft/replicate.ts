// layer_replication: a model whose layers are ranges of another's, in order. A layer that comes twice reads the same
// weights under two names, so that each can have an adapter of its own.
import type { Checkpoint } from '../../frontends/huggingface/index.ts';
import { isObject } from '../../frontends/huggingface/json.ts';
import { ModelcError } from '../../ir/error.ts';

/** Where a checkpoint keeps layer N: `…layers.N.…`, `…layer.N.…` or `…h.N.…`. */
const inLayer = /^((?:.*?\.)?(?:layers|layer|h))\.(\d+)\.(.*)$/;
const layerCounts = ['num_hidden_layers', 'n_layer', 'num_layers'];

/** The checkpoint of the model that the ranges [from, to) describe. Throws ModelcError 'input' for layers that it lacks. */
export function replicateLayers(checkpoint: Checkpoint, ranges: readonly (readonly [number, number])[]): Checkpoint {
  const order = ranges.flatMap(([from, to]) => Array.from({ length: to - from }, (_, i) => from + i));
  const field = layerCounts.find((name) => Object.hasOwn(checkpoint.config, name));
  const count = field === undefined ? 0 : Number(checkpoint.config[field]);
  const lists = new Set([...checkpoint.tensors.keys()].flatMap((name) => inLayer.exec(name)?.[1] ?? []));
  if (field === undefined || lists.size !== 1) {
    throw new ModelcError(
      'unsupported',
      `layer_replication needs a model with one list of layers, but ${checkpoint.dir} has ${lists.size}`,
    );
  }
  const beyond = order.find((layer) => layer >= count);
  if (beyond !== undefined) {
    throw new ModelcError(
      'input',
      `layer_replication names layer ${beyond}, but ${checkpoint.dir} has ${count} layers`,
    );
  }
  const tensors = [...checkpoint.tensors].flatMap(([name, tensor]) => {
    const match = inLayer.exec(name);
    if (!match) return [[name, tensor] as const];
    const [, list, layer, rest] = match;
    return order.flatMap((from, to) => (from === Number(layer) ? [[`${list}.${to}.${rest}`, tensor] as const] : []));
  });
  const reordered = Object.entries(checkpoint.config).map(([name, value]) => {
    const isPerLayer = Array.isArray(value) && value.length === count && !isObject(value);
    return [name, isPerLayer ? order.map((layer) => value[layer]) : value];
  });
  return {
    ...checkpoint,
    config: { ...Object.fromEntries(reordered), [field]: order.length },
    tensors: new Map(tensors),
  };
}
