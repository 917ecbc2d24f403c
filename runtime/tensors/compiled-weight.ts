// Derived weights that the CPU computes: the graph that makes one is compiled, with the stored weights as inputs, which
// stay mapped files. A graph that works element by element is compiled for any number of elements, so that the weights of a
// model share one program; graphs that are equal but for names share theirs.
import type { Buffer, Device, FileSpan } from '../../backends/device.ts';
import { dim, dimEval, dimProduct, dimVar, shapeEquals } from '../../ir/dim.ts';
import { dtypeInfo } from '../../ir/dtype.ts';
import { ModelcError } from '../../ir/error.ts';
import { type Graph, roots, topologicalOrder } from '../../ir/graph.ts';
import { make } from '../../ir/make.ts';
import { isOp } from '../../ir/node.ts';
import { elementwise } from '../../ir/ops/elementwise.ts';
import type { Program } from '../../ir/program.ts';
import { transform, withArgs } from '../../ir/rewrite.ts';
import { printGraph } from '../../ir/text.ts';
import { preparedResult } from '../../passes/prepare.ts';
import { compile } from '../compiler/compile.ts';
import { type DeviceRow, devices } from '../execution/devices.ts';

/** Elements that a program for any number of them takes. */
const mostElements = 2 ** 40;

/** The CPU, or undefined where native code cannot be built. */
let cpu: Promise<Device | undefined> | undefined;
/** Programs by the text of their graphs. */
const programs = new Map<string, Promise<{ readonly program: Program; readonly binary?: string }>>();
const mostPrograms = 64;

const unlessMissing = (error: unknown): undefined => {
  if (error instanceof ModelcError && (error.code === 'toolchain' || error.code === 'unsupported')) return undefined;
  throw error;
};

/** Device `on` where it is a CPU, else another CPU; undefined where no native code can be built. */
export async function cpuBeside(on: Device | undefined): Promise<Device | undefined> {
  if (on?.target.language === 'c') return on;
  cpu ??= devices.cpu.open().catch(unlessMissing);
  return cpu;
}

/** The value of a graph over stored weights, in memory of a CPU. */
export async function compiledWeight(
  graph: Graph,
  sources: ReadonlyMap<string, FileSpan | Uint8Array>,
  device: Device,
): Promise<Buffer> {
  const value = graph.results.get(preparedResult)!;
  const elements = dimEval(dimProduct(value.type.shape), {});
  const isFlat = topologicalOrder(roots(graph)).every(
    (n) => (isOp(n, 'param') || n.op in elementwise) && shapeEquals(n.type.shape, value.type.shape),
  );
  const entry = asEntry(graph, isFlat);
  const { program, binary } = await programOf(entry, device);
  const loaded = await device.load(program, binary);
  const inputs: Buffer[] = [];
  let result: Buffer | undefined;
  try {
    for (const p of graph.params) inputs.push(bound(device, sources.get(p.attrs.name)!, p.attrs.dtype));
    result = device.alloc(elements * dtypeInfo[value.type.dtype].bytes);
    await loaded.run('main', { weights: [], constants: [], states: [], inputs, results: [result] }, isFlat ? { n: elements } : {}); // biome-ignore format: one row
    return result;
  } catch (error) {
    if (result) device.free(result);
    throw error;
  } finally {
    loaded.dispose();
    for (const buffer of inputs) device.free(buffer);
  }
}

function bound(device: Device, source: FileSpan | Uint8Array, dtype: Parameters<Device['map']>[1]): Buffer {
  if (!(source instanceof Uint8Array)) return device.map(source, dtype);
  const buffer = device.alloc(source.byteLength, dtype);
  device.write(buffer, source);
  return buffer;
}

/** The graph with inputs in place of weights, named by their number; `isFlat`: over one axis of any size. */
function asEntry(graph: Graph, isFlat: boolean): Graph {
  const shape = [dimVar('n', 1, mostElements)];
  const inputs = new Map(graph.params.map((p, i) => [p.attrs.name, `${i}`]));
  return transform(graph, (node, args) =>
    isOp(node, 'param')
      ? make('param', [], {
          ...node.attrs,
          name: inputs.get(node.attrs.name)!,
          kind: 'input',
          shape: isFlat ? shape : node.attrs.shape.map(dim),
        })
      : withArgs(node, args),
  );
}

function programOf(graph: Graph, device: Device): ReturnType<DeviceRow['build']> {
  const text = printGraph(graph);
  let built = programs.get(text);
  if (!built) {
    if (programs.size === mostPrograms) programs.delete([...programs.keys()][0]);
    const compiled = () => compile('prepare', { main: { graph, constants: new Map() } }, device.target);
    built = devices.cpu.build({ prepare: text, target: device.target }, compiled);
    programs.set(text, built);
    built.catch(() => programs.delete(text));
  }
  return built;
}
