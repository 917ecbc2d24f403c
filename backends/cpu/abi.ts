// The C declarations that a generated program and the native runtime share: what a compiled Program looks like in
// memory. A program is constant tables and kernels; it has no state, knows nothing of Node, and is loaded with dlopen.
import { typedefs } from '../c/types.ts';

/** Raised whenever the structures below change, so that a stale binary is refused instead of misread. */
export const abiVersion = 1;

/** The one symbol that a program exports. */
export const programSymbol = 'modelc_program';

export const abi = `${typedefs}typedef i64 ix;

// Address 0 of an entry is the arena; then come weights, constants, states, inputs and results, in the program's order.
struct slot { u32 address; u64 offset; };
// A kernel bound to buffers: its task number t in 0 .. grid(dims).
struct part {
  void (*run)(ix task, char *const *buffers, const ix *dims, char *scratch);
  ix (*grid)(const ix *dims);
  u32 first_slot, slots;
};
// One parallel region: the grids of its parts laid end to end.
struct step { u32 first_part, parts; };
struct entry {
  u32 addresses, steps;
  const struct step *step;
  const struct part *part;
  const struct slot *slot;
};
struct program {
  u32 version, entries, dims;
  u64 arena_bytes, scratch_bytes;  // scratch is per thread
  const struct entry *entry;
};
`;
