// How much memory programs plan for, known before anything is loaded.
import { byteSize, type Dims, type PlanTensor, type Program } from '../../ir/program.ts';

const sum = (tensors: readonly PlanTensor[], dims: Dims): number =>
  tensors.reduce((bytes, t) => bytes + byteSize(t, dims), 0);

/** Bytes of weights and constants, which programs share by name, and of the largest arena. */
export function fixedBytes(programs: readonly Program[]): number {
  const fixed = new Map(programs.flatMap((p) => [...p.weights, ...p.constants]).map((t) => [t.name, t]));
  const arenas = programs.flatMap((p) => Object.values(p.entries).map((plan) => plan.arenaBytes));
  return sum([...fixed.values()], {}) + Math.max(0, ...arenas);
}

/** Bytes of a program's states; `sizes` are values of the dims that they have. */
export const stateBytes = ({ states }: Program, sizes: Dims): number => sum(states, sizes);

/** Bytes of the largest array that has one size always: a weight, a constant or the arena. */
export const largestArray = ({ weights, constants, entries }: Program): number =>
  Math.max(
    ...[...weights, ...constants].map((t) => byteSize(t, {})),
    ...Object.values(entries).map((plan) => plan.arenaBytes),
  );
