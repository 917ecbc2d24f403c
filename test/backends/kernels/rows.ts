// Reductions along all kinds of axes, orderings with ties and NaN, scatters with duplicates, scans.
import { dim } from '../../../ir/dim.ts';
import { make } from '../../../ir/make.ts';
import type { Node } from '../../../ir/node.ts';
import { add, constant, type KernelCase, mul, reduce, scene, seq, spread } from './scene.ts';

const subsets = (n: number): number[][] =>
  Array.from({ length: 2 ** n }, (_, bits) => Array.from({ length: n }, (_2, i) => i).filter((i) => bits & (1 << i)));
const withNaN = (i: number): number => (i % 17 === 5 ? Number.NaN : ((i * 37) % 23) - 11);

export const reductions: KernelCase[] = [
  ...subsets(4).flatMap((axes) => [
    scene(`sum over [${axes}]`, (s) => reduce(s.input([3, 4, 5, 18]), 'add', axes)),
    scene(`max over [${axes}], with NaN`, (s) => reduce(s.input([3, 4, 5, 18], 'f32', withNaN), 'max', axes)),
  ]),
  ...(['add', 'mul', 'max', 'min'] as const).flatMap((op) => [
    scene(`i32 ${op}`, (s) => reduce(s.input([3, 19], 'i32', (i) => (i % 13) - 6), op, [1], 'i32')),
    scene(`u8 ${op}`, (s) => reduce(s.input([3, 19], 'u8', (i) => (i * 31) % 256), op, [1], 'u8')),
    scene(`i64 ${op}`, (s) => reduce(s.input([3, 19], 'i64', (i) => (i % 13) - 6), op, [1], 'i64')),
    scene(`bf16 ${op}`, (s) => reduce(s.input([3, 35], 'bf16'), op, [1])),
    scene(`f16 ${op}, in f16`, (s) => reduce(s.input([3, 6], 'f16'), op, [1], 'f16'), { tolerance: 2 ** -8 }),
    scene(`f32 ${op}, 33 elements`, (s) => reduce(s.input([3, 33]), op, [1])),
  ]),
  // many positions, which threads of a group share: strips of whole and of odd columns, single elements
  ...[[150, 20], [150, 18], [70, 1], [3, 67, 8, 2], [400, 33]].flatMap((shape) => [
    scene(`sum of all but the last axis of ${shape}`, (s) => reduce(s.input(shape), 'add', shape.slice(1).map((_, i) => i))),
    scene(`sum of all of ${shape}`, (s) => reduce(s.input(shape), 'add', shape.map((_, i) => i))),
    scene(`max of all but the last axis of ${shape}, with NaN`, (s) => reduce(s.input(shape, 'f32', withNaN), 'max', shape.slice(1).map((_, i) => i))),
  ]),
  scene('sums of middle axes', (s) => reduce(s.input([3, 70, 2, 24]), 'add', [1, 2])),
  scene('sums of the first and the last axis', (s) => reduce(s.input([9, 3, 50]), 'add', [0, 2])),
  scene('i32 sums of columns', (s) => reduce(s.input([200, 20], 'i32', (i) => (i % 13) - 6), 'add', [0], 'i32')),
  scene('bf16 sums of columns', (s) => reduce(s.input([200, 36], 'bf16'), 'add', [0])),
  scene('sums of columns of a symbolic number of rows', (s) => reduce(s.input([seq, 40]), 'add', [0]), { dims: { seq: 77 } }),
  scene('the gradients of a scale and of a shift', (s) => {
    const [x, y, scale] = [s.input([90, 48]), s.input([90, 48]), s.input([90])];
    return { scale: reduce(mul(mul(x, spread(scale, x, [0])), y), 'add', [0]), shift: reduce(y, 'add', [0]) };
  }),
  scene('sums of columns that are read in another order', (s) => reduce(make('transpose', [s.input([40, 150])], { perm: [1, 0] }), 'add', [0])),
  scene('and, or', (s) => {
    const x = s.input([4, 21], 'bool', (i) => (i % 20 ? 1 : 0));
    return { all: reduce(x, 'and', [1], 'bool'), some: reduce(x, 'or', [1], 'bool') };
  }),
  scene('several reductions of one row', (s) => {
    const x = s.input([6, 50]);
    const [sum, top] = [reduce(x, 'add', [1]), reduce(x, 'max', [1])];
    return make('div', [add(x, spread(sum, x, [0])), spread(add(top, constant(3, top)), x, [0])], {});
  }),
  scene('a row of one reduction spread along another axis', (s) => {
    const x = s.input([12, 12]);
    const sum = reduce(x, 'add', [1]);
    return add(spread(sum, x, [1]), spread(sum, x, [0]));
  }),
  scene('a softmax whose rows are reversed', (s) =>
    make('reverse', [make('softmax', [s.input([4, 40])], { axis: 1 })], { axes: [0] }),
  ),
  scene('a softmax whose elements are reversed', (s) =>
    make('reverse', [make('softmax', [s.input([4, 40])], { axis: 1 })], { axes: [1] }),
  ),
  scene('rows of a softmax times rows of its reverse', (s) => {
    const p = make('softmax', [s.input([4, 40])], { axis: 1 });
    return mul(p, make('reverse', [p], { axes: [0, 1] }));
  }),
  scene('a square that is spread both ways', (s) => {
    const x = s.input([24, 24]);
    const sum = make('exp', [reduce(make('tanh', [x], {}), 'max', [1])], {});
    return make('div', [spread(sum, x, [1]), spread(sum, x, [0])], {});
  }),
  scene('twelve levels of neighbours that add up', (s) => {
    let x = s.input([3, 60]);
    const part = (y: Node, start: number): Node => {
      const [rows, n] = y.type.shape;
      return make('slice', [y], { starts: [dim(0), dim(start)], sizes: [rows, dim(n.min - 1)], strides: [1, 1] });
    };
    for (let i = 0; i < 12; i++) x = mul(add(part(x, 0), part(x, 1)), constant(0.5, part(x, 0)));
    return x;
  }),
  scene('a chain of a thousand', (s) => {
    let x = s.input([50]);
    for (let i = 0; i < 500; i++) x = add(make('sin', [x], {}), constant(i / 500, x));
    return x;
  }),
  scene('reductions of rows of two lengths', (s) => {
    const [sum, top] = [reduce(s.input([6, 50]), 'add', [1]), reduce(s.input([6, 9]), 'max', [1])];
    return mul(sum, top);
  }),
  scene('reductions at two depths', (s) => {
    const inner = reduce(s.input([4, 6, 50]), 'max', [2]);
    const sum = reduce(inner, 'add', [1]);
    return mul(inner, spread(sum, inner, [0]));
  }),
]; // biome-ignore format: a table

const ties = (i: number): number => (i % 11 === 3 ? Number.NaN : (i * i) % 7);
export const ordering: KernelCase[] = [
  ...[1, 2, 5, 40].map((k) => scene(`top ${k} of 40 with ties and NaN`, (s) => make('top_k', [s.input([3, 40], 'f32', ties)], { k }))),
  ...[1, 8].map((k) => scene(`top ${k} of i32`, (s) => make('top_k', [s.input([3, 40], 'i32', (i) => (i * 7) % 11)], { k }))),
  ...(['i64', 'u32', 'u8', 'bool', 'f16'] as const).map((dtype) => scene(`top 7 of ${dtype}`, (s) => make('top_k', [s.input([3, 150], dtype, (i) => (dtype === 'bool' ? i % 2 : (i * 7) % 31))], { k: 7 }))),
  ...[1, 3].map((k) => scene(`top ${k} of bf16`, (s) => make('top_k', [s.input([3, 40], 'bf16')], { k }))),
  scene('top 50 of 3000', (s) => make('top_k', [s.input([2, 3000])], { k: 50 })),
  scene('top 5 of NaN alone', (s) => make('top_k', [s.input([2, 9], 'f32', () => Number.NaN)], { k: 5 })),
  scene('top 1 of NaN alone', (s) => make('top_k', [s.input([2, 9], 'f32', () => Number.NaN)], { k: 1 })),
  scene('top 1 of -infinity alone', (s) => make('top_k', [s.input([2, 9], 'f32', () => Number.NEGATIVE_INFINITY)], { k: 1 })),
  ...[1, 2, 3, 1000].flatMap((n) =>
    [false, true].flatMap((descending) => [
      scene(`sort of ${n}, ${descending}`, (s) => make('sort', [s.input([2, n])], { axis: 1, descending })),
      scene(`sort of ${n} with ties and NaN, ${descending}`, (s) => make('sort', [s.input([n, 2], 'f32', ties)], { axis: 0, descending })),
    ]),
  ),
  scene('sort of a symbolic axis', (s) => make('sort', [s.input([2, seq])], { axis: 1, descending: false }), { dims: { seq: 77 } }),
  scene('sort of i32', (s) => make('sort', [s.input([2, 77], 'i32', (i) => ((i * 37) % 23) - 11)], { axis: 1, descending: true })),
  scene('sort of f16', (s) => make('sort', [s.input([2, 77], 'f16')], { axis: 1, descending: false })),
  ...(['set', 'add', 'min', 'max'] as const).flatMap((combine) =>
    (['f32', 'bf16', 'i32', 'u8'] as const).map((dtype) =>
      scene(`scatter ${combine} of ${dtype} with duplicates and positions outside`, (s) => {
        const number = (i: number) => (i * 29) % 13;
        const x = s.input([3, 6, 5], dtype, number);
        const indices = s.input([3, 9], 'i32', (i) => ((i * 5) % 9) - 2);
        return make('scatter', [x, indices, s.input([3, 9, 5], dtype, (i) => number(i + 4))], { axis: 1, batch: 1, combine });
      }),
    ),
  ),
  ...(['set', 'add'] as const).map((combine) =>
    scene(`scatter ${combine} of long rows, in lines of their own`, (s) => {
      const indices = s.input([2, 50], 'i32', (i) => ((i * 5) % 34) - 2);
      return make('scatter', [s.input([2, 30, 3, 40]), indices, s.input([2, 50, 3, 40])], { axis: 1, batch: 1, combine });
    }),
  ),
  scene('a count of numbers', (s) => {
    const numbers = s.input([300], 'i32', (i) => (i * i) % 41);
    return make('scatter', [constant(0, s.input([40])), numbers, constant(1, s.input([300]))], { axis: 0, batch: 0, combine: 'add' });
  }),
  scene('a scatter of rows of one number each', (s) => {
    const ones = spread(s.input([3, 9]), s.input([3, 9, 40]), [0, 1]);
    const indices = s.input([3, 9], 'i32', (i) => (i * 5) % 7);
    return make('scatter', [s.input([7, 40]), indices, ones], { axis: 0, batch: 0, combine: 'add' });
  }),
  scene('a scatter of wide rows in several ranges: the gradient of an embedding', (s) => {
    const indices = s.input([3, 9], 'i32', (i) => (i * 67) % 211);
    return make('scatter', [constant(0, s.input([200, 700])), indices, s.input([3, 9, 700])], { axis: 0, batch: 0, combine: 'add' });
  }),
  ...(['add', 'mul', 'max', 'min'] as const).flatMap((op) =>
    [false, true].map((reverse) =>
      scene(`scan ${op}, ${reverse}`, (s) => make('scan', [s.input([3, 40, 2])], { op, axis: 1, exclusive: reverse, reverse })),
    ),
  ),
]; // biome-ignore format: a table
