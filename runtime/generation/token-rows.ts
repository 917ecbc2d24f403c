// Token ids and masks as callers give them, tensors or lists of one or many rows, checked and in one form.
import { ModelcError } from '../../ir/error.ts';
import { Tensor } from '../tensors/tensor.ts';

/** Rows of token ids in any of the usual forms. */
export type TokenRows = Tensor | readonly (readonly (number | bigint)[])[] | readonly number[] | readonly bigint[];

/** Token ids as one bigint array per row, all of one length. Throws ModelcError 'input' for anything else. */
export function tokenRows(name: string, value: TokenRows, vocabSize: number): bigint[][] {
  return integerRows(name, value, (id) => {
    if (id >= 0n && id < BigInt(vocabSize)) return;
    throw new ModelcError('input', `${name} holds the token id ${id}, but the vocabulary has ${vocabSize} tokens`);
  });
}

function integerRows(name: string, value: TokenRows, check: (entry: bigint) => void): bigint[][] {
  const rows = value instanceof Tensor ? tensorRows(name, value) : listRows(name, value);
  if (rows.length === 0 || rows[0].length === 0) {
    throw new ModelcError('input', `${name} is empty; give at least one token, e.g. the beginning-of-sequence token`);
  }
  for (const [i, row] of rows.entries()) {
    if (row.length !== rows[0].length) {
      throw new ModelcError(
        'input',
        `${name} has rows of ${rows[0].length} and ${row.length} tokens; pad them to one length (row ${i})`,
      );
    }
    for (const entry of row) check(entry);
  }
  return rows;
}

function tensorRows(name: string, tensor: Tensor): bigint[][] {
  if (tensor.dims.length !== 2) {
    throw new ModelcError('input', `${name} must have dims [batch, length], but has [${tensor.dims}]`);
  }
  const [rows, length] = tensor.dims;
  return Array.from({ length: rows }, (_, r) =>
    Array.from({ length }, (_, i) => toId(name, tensor.data[r * length + i])),
  );
}

function listRows(name: string, list: Exclude<TokenRows, Tensor>): bigint[][] {
  if (!Array.isArray(list)) {
    throw new ModelcError('input', `${name} must be a Tensor or an array of token ids, but is ${typeof list}`);
  }
  const rows: readonly unknown[] = list.length > 0 && !Array.isArray(list[0]) ? [list] : list;
  return rows.map((row) => {
    if (!Array.isArray(row)) throw new ModelcError('input', `${name} mixes token ids and rows of token ids`);
    return row.map((id: unknown) => toId(name, id));
  });
}

function toId(name: string, id: unknown): bigint {
  if (typeof id === 'bigint') return id;
  if (typeof id === 'number' && Number.isInteger(id)) return BigInt(id);
  throw new ModelcError('input', `${name} must hold integers, but holds ${String(id)}`);
}

/** The mask of a call, row-major; undefined when every token is real. */
export function attentionMask(
  value: TokenRows | null | undefined,
  ids: readonly (readonly bigint[])[],
  pad: number | null,
  eos: readonly number[],
  name = 'attention_mask',
): Uint8Array | undefined {
  const length = ids[0].length;
  let mask: Uint8Array;
  if (value) {
    const rows = integerRows(name, value, (entry) => {
      if (entry === 0n || entry === 1n) return;
      throw new ModelcError('input', `${name} must hold 1 for tokens and 0 for padding, but holds ${entry}`);
    });
    if (rows.length !== ids.length || rows[0].length !== length) {
      throw new ModelcError(
        'input',
        `${name} has shape [${rows.length}, ${rows[0].length}], but the ids have [${ids.length}, ${length}]`,
      );
    }
    mask = Uint8Array.from(rows.flat(), Number);
  } else {
    // Padding can be told from text only where the pad token means nothing else.
    if (pad === null || eos.includes(pad)) return undefined;
    mask = Uint8Array.from(ids.flat(), (id) => (id === BigInt(pad) ? 0 : 1));
  }
  return mask.includes(0) ? mask : undefined;
}
