// Whether a program's memory fits into what one binding of its target shows. Weights do, since a pass splits them; what is
// left are arrays whose sizes follow from how the model is compiled, so the message says which option makes them smaller.
// The arena is allocated for the maxima of the dims and checked at them. States and results are allocated for the dims of
// a run: here they are checked at the minima, where no run could be served, and by the device when a run asks for more.
import { dtypeInfo } from '../../ir/dtype.ts';
import { ModelcError } from '../../ir/error.ts';
import { byteSize, type DimBound, type Dims, type PlanTensor, type Program } from '../../ir/program.ts';
import type { Target } from '../../ir/target.ts';

/** Throws ModelcError 'unsupported' on the first array that is too large. */
export function checkLimits(program: Program, target: Target): void {
  const { bindingBytes, storeBytes = 1 } = target;
  const require = (bytes: number, what: string, lower: string): void => {
    if (bytes <= bindingBytes) return;
    throw new ModelcError(
      'unsupported',
      `${what} ${bytes} bytes, and this target binds arrays of at most ${bindingBytes}; lower ${lower}`,
    );
  };
  const bytesOf = (tensor: PlanTensor, dims: Dims): number =>
    byteSize(tensor, dims) * Math.max(1, storeBytes / dtypeInfo[tensor.dtype].bytes);
  const all = minima(
    program,
    Object.values(program.entries).flatMap(({ dims }) => dims),
  );
  for (const c of program.constants) require(bytesOf(c, {}), `the table ${c.name} takes`, 'max_cache_len');
  // Caches are of generation, where options name what makes arrays smaller; other states are of training
  const isTraining = program.states.some((s) => s.role?.kind === 'train');
  const size = isTraining ? 'the batch or the length of its rows, or train on the target cpu' : 'chunk or max_batch';
  for (const s of program.states) {
    if (isTraining)
      require(bytesOf(s, all), `the state ${s.name} takes`, 'the size of the model, or train on the target cpu');
    else require(bytesOf(s, all), `the cache ${s.name} takes`, 'max_cache_len');
  }
  for (const [entry, { arenaBytes, results, dims }] of Object.entries(program.entries)) {
    require(arenaBytes, `the intermediate results of ${entry} take`, size);
    for (const r of results) require(bytesOf(r, minima(program, dims)), `the result ${r.name} of ${entry} takes`, size);
  }
}

/** Where the dims are smallest, and so are sizes: they grow with all of them. Dims that only states have are 1 at least. */
function minima(program: Program, bounds: readonly DimBound[]): Dims {
  const names = program.states.flatMap((s) => s.shape).flatMap((d) => Object.keys(d).flatMap((m) => m.split('*')));
  return Object.fromEntries([...names.map((name) => [name, 1]), ...bounds.map(({ name, min }) => [name, min])]);
}
