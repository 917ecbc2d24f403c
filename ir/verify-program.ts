// The verifier of programs: what devices may rely on when they print a program, or load one that was printed before. Its
// kernels are held against the target (verify-kernel.ts); of an artifact, whose kernels have no bodies, what is left of
// them. Launches name kernels, memory and dims that exist.
import { ModelcError } from './error.ts';
import type { Plan, Program, Slot } from './program.ts';
import { type KernelTarget, verifyKernel } from './verify-kernel.ts';

/** Throws ModelcError 'type' with the first thing that is wrong with a program. */
export function verifyProgram(program: Program, target: KernelTarget): void {
  for (const kernel of program.kernels) verifyKernel(kernel, target);
  for (const [entry, plan] of Object.entries(program.entries)) verifyPlan(program, entry, plan);
}

function verifyPlan(program: Program, entry: string, plan: Plan): void {
  const fail = (problem: string): never => {
    throw new ModelcError('type', `malformed program: ${problem.slice(0, 200)}, in entry ${entry.slice(0, 80)}`);
  };
  const counts: Readonly<Record<string, number>> = {
    weight: program.weights.length,
    constant: program.constants.length,
    state: program.states.length,
    input: plan.inputs.length,
    result: plan.results.length,
  };
  const arena = plan.arenaBytes;
  if (!isCount(arena)) fail('the arena size must be an integer');
  const check = (slot: Slot): void => {
    if (slot.space === 'arena') {
      const { offset, bytes } = slot;
      if (!isCount(offset) || !isCount(bytes) || offset + bytes > arena) fail('a slot lies outside of the arena');
      if (offset % slotAlignment !== 0) fail('a slot of the arena lies at an odd place');
      return;
    }
    const count = Object.hasOwn(counts, slot.space) ? counts[slot.space] : 0;
    if (!isCount(slot.index) || slot.index >= count) fail(`a slot names ${slot.space} ${slot.index} of ${count}`);
  };
  for (const { name, min, max } of plan.dims) {
    if (!Number.isSafeInteger(min) || !Number.isSafeInteger(max)) fail(`a bound of dim '${name}' must be an integer`);
  }
  const declared = new Set(plan.dims.map((d) => d.name));
  for (const { parts } of plan.steps) {
    for (const { kernel: at, args } of parts) {
      const kernel = isCount(at) ? program.kernels[at] : undefined;
      if (!kernel) return fail('a launch names a kernel that does not exist');
      if (kernel.buffers.length !== args.length) fail('a launch and its kernel differ in buffers');
      const unbound = kernel.dims.find((name) => !declared.has(name));
      if (unbound !== undefined) fail(`a kernel reads dim '${unbound}' that the entry does not declare`);
      args.forEach((slot, i) => {
        check(slot);
        const isRead = kernel.buffers[i].access === 'read';
        if (!isRead && !written.has(slot.space)) fail(`a kernel writes to a ${slot.space}`);
      });
    }
  }
}

/** Bytes that kernels move at once, at most, to or from a GPU's memory. */
const slotAlignment = 16;
const written: ReadonlySet<string> = new Set<Slot['space']>(['arena', 'state', 'result']);
const isCount = (x: number): boolean => typeof x === 'number' && Number.isSafeInteger(x) && x >= 0;
