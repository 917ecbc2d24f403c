// Kernel templates at the shapes where they change their ways (test/backends/kernels/*.ts). All graphs of a group share one native
// build and are compared with the interpreter.
import { beforeAll, describe, expect, test } from 'vitest';
import { evaluate } from '../../ir/eval.ts';
import { type Graph, roots, topologicalOrder } from '../../ir/graph.ts';
import { difference } from '../support/compare.ts';
import { devices } from '../support/devices.ts';
import { type DeviceResult, isTooLong, type TestDevice } from '../support/test-device.ts';
import { openWebGpu } from '../support/webgpu-device.ts';
import { groupsFor } from './kernels/index.ts';

const { present, missing } = await devices();
// What is printed differently for a variant, on that variant.
const variants = await devices([{ name: 'webgpu subgroups', open: () => openWebGpu(['subgroups']) }]);
const reducing = ['long rows', 'reductions', 'attention'];
const rows = [
  ...present.map((device) => ({ device, cases: groupsFor(device) })),
  ...variants.present.map((device) => ({
    device,
    cases: groupsFor(device).filter(([name]) => reducing.includes(name)),
  })),
];

/** Whether a result depends on how many bits an i64 has: a shift takes its amount modulo that. */
const counts = (graph: Graph, device: TestDevice): boolean =>
  device.longBits !== undefined &&
  topologicalOrder(roots(graph)).some((n) => (n.op === 'shl' || n.op === 'shr') && n.type.dtype === 'i64');

for (const { name, why } of [...missing, ...variants.missing]) test.skip(`${name} is not here: ${why}`, () => {});
for (const { device, cases: served } of rows) {
  describe.each(served)(`${device.name}, %s`, (_group, cases) => {
    let results: DeviceResult[] = [];
    beforeAll(async () => {
      results = await device.run(cases);
    }, 600_000);

    test.for(cases.map((c, i) => [c.name, i] as const))('%s', ([, i], context) => {
      const actual = results[i];
      if (actual instanceof Error) throw actual;
      const { graph, params } = cases[i];
      const expected = evaluate(graph, cases[i]).results;
      if (
        [...params.values(), ...expected.values()].some((x) => isTooLong(x, device.longBits)) ||
        counts(graph, device)
      ) {
        return context.skip(`${device.name} keeps ${device.longBits} bits of an i64`);
      }
      for (const [name, value] of expected) {
        expect(difference(actual.results.get(name)!, value, cases[i].tolerance), name).toBeUndefined();
      }
    });
  });
}
