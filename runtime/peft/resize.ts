// Adapters whose embeddings have more rows than the base's, or fewer: their makers called resize_token_embeddings before
// training, and PEFT writes the tables beside the adapter. The model is then made with that vocabulary, and the tables of
// the file are its own.
import type { Checkpoint } from '../../frontends/huggingface/index.ts';
import { ModelcError } from '../../ir/error.ts';
import { inModel } from './adapter.ts';
import type { MatrixModule, ModelModules } from './modules.ts';
import type { AdapterFile } from './read-adapter.ts';
import { inputEmbedding } from './targets.ts';

/** Makes another checkpoint of one: with other layers, or another vocabulary. */
export type CheckpointChange = (checkpoint: Checkpoint) => Checkpoint;

/**
 * The change by which a model takes the vocabulary of an adapter's file; undefined where it is the model's own. Throws
 * ModelcError 'checkpoint' where the file has one table of two, or tables of two sizes.
 */
export function resizing(file: AdapterFile, modules: ModelModules, vocabSize: number): CheckpointChange | undefined {
  const { matrices, head, parameters } = modules;
  const layers = [inputEmbedding(modules, vocabSize), head === undefined ? undefined : matrices.get(head)];
  const tables = layers.filter((m): m is MatrixModule => m !== undefined);
  const brought = tables.flatMap(({ name, weight }) => {
    const tensor = file.tensors.get(inModel(name, 'weight'));
    const own = parameters.get(weight)!;
    const fits = tensor?.shape.length === 2 && tensor.shape[1] === own[1];
    return tensor && fits ? [{ name, weight, tensor, rows: tensor.shape[0] }] : [];
  });
  const rows = brought.at(-1)?.rows ?? vocabSize;
  if (brought.every((table) => table.rows === parameters.get(table.weight)![0])) return undefined;
  const other = tables.find(({ weight }) => !brought.some((b) => b.weight === weight && b.rows === rows));
  if (other) {
    const found = file.tensors.get(inModel(other.name, 'weight'))?.shape[0] ?? parameters.get(other.weight)![0];
    throw new ModelcError(
      'checkpoint',
      `${file.path}: ${brought.at(-1)!.name} has ${rows} rows, but ${other.name} has ${found}; an adapter for a resized vocabulary brings both tables, so save it with save_embedding_layers: true`,
    );
  }
  return (checkpoint) => {
    const tensors = new Map(checkpoint.tensors);
    for (const { weight, tensor } of brought) tensors.set(weight, tensor);
    // A tied layer may have a copy in the checkpoint.
    for (const { name, weight } of tables) {
      if (tensors.has(`${name}.weight`)) tensors.set(`${name}.weight`, tensors.get(weight)!);
    }
    return { ...checkpoint, config: { ...checkpoint.config, vocab_size: rows }, tensors };
  };
}
