// Where the bytes of a program's weights come from. A weight that is used as it is stored is its span of the checkpoint. A
// derived one is made by its graph of Program.prepare when it is bound, and no other is in memory meanwhile:
//   - a view of one stored weight (weight-view.ts) is a piece of what is stored, or its elements in another order;
//   - a large value is computed by the CPU, by a program that is compiled from the graph (compiled-weight.ts);
//   - any other is computed by the interpreter, in doubles, which are rounded once.
import type { Buffer, Device, FileSpan } from '../../backends/device.ts';
import { decodeElements, readSpan } from '../../frontends/huggingface/index.ts';
import { parseGraph } from '../../frontends/text/index.ts';
import { dimEval } from '../../ir/dim.ts';
import { dtypeInfo, roundTo } from '../../ir/dtype.ts';
import { ModelcError } from '../../ir/error.ts';
import { evaluate } from '../../ir/eval.ts';
import type { Graph } from '../../ir/graph.ts';
import { type NdArray, ndarray, sizeOf } from '../../ir/ndarray.ts';
import type { Node } from '../../ir/node.ts';
import type { PlanWeight, Program } from '../../ir/program.ts';
import { preparedResult } from '../../passes/prepare.ts';
import { compiledWeight, cpuBeside } from './compiled-weight.ts';
import { bytesOf, storeNumbers } from './host-tensor.ts';
import type { WeightStore } from './weight-store.ts';
import { pieceOf, viewBytes, viewOf } from './weight-view.ts';

/** Gives the bytes of a stored weight. */
export type StoredBytes = (name: string) => FileSpan | Uint8Array;

/** Where bytes are: those that are made for device `on` may be its memory. */
type Bytes<On> = FileSpan | Uint8Array | (On extends Device ? Buffer : never);

/** The bytes of a weight of a program, for device `on` or anybody. */
export async function weightSource<On extends Device | undefined = undefined>(
  { source }: Pick<WeightStore, 'source'>,
  weight: PlanWeight,
  { prepare }: Pick<Program, 'prepare'>,
  on?: On,
): Promise<Bytes<On>> {
  if (weight.prepare === undefined) return source(weight.name);
  return preparedWeight(parseGraph(prepare[weight.prepare], weight.name), source, on);
}

/** Below so many elements, calling a compiler costs more time than it saves. */
const fewElements = 2 ** 20;

/** Runs a graph that makes a weight. Throws ModelcError 'checkpoint' where what is stored is not what it reads. */
export async function preparedWeight<On extends Device | undefined = undefined>(
  graph: Graph,
  source: StoredBytes,
  on?: On,
): Promise<Bytes<On>> {
  const value = graph.results.get(preparedResult)!;
  const sources = new Map(graph.params.map((p) => [p.attrs.name, storedOf(p, source)]));
  const view = viewOf(value);
  const piece = view && pieceOf(view, sources.get(view.weight.attrs.name)!);
  if (piece) return piece;
  const device = sizeOf(shapeOf(value)) < fewElements ? undefined : await cpuBeside(on);
  if (device) {
    const made = await compiledWeight(graph, sources, device);
    return device === on ? (made as Bytes<On>) : taken(device, made);
  }
  return view ? viewBytes(view, sources.get(view.weight.attrs.name)!) : interpreted(graph, sources);
}

/** The bytes of memory of a device, which is given back. */
async function taken(device: Device, buffer: Buffer): Promise<Uint8Array> {
  try {
    return await device.read(buffer, 0, buffer.bytes);
  } finally {
    device.free(buffer);
  }
}

const shapeOf = (n: Node): number[] => n.type.shape.map((d) => dimEval(d, {}));

function storedOf(param: Node<'param'>, source: StoredBytes): FileSpan | Uint8Array {
  const { name, dtype } = param.attrs;
  const stored = source(name);
  const [bytes, needed] = [
    stored instanceof Uint8Array ? stored.byteLength : stored.bytes,
    sizeOf(shapeOf(param)) * dtypeInfo[dtype].bytes,
  ];
  if (bytes === needed) return stored;
  throw new ModelcError(
    'checkpoint',
    `weight ${name} has ${bytes} bytes, but what is made of it reads ${needed}; they do not belong together`,
  );
}

async function interpreted(graph: Graph, sources: ReadonlyMap<string, FileSpan | Uint8Array>): Promise<Uint8Array> {
  const params = new Map<string, NdArray>();
  for (const param of graph.params) {
    const { name, dtype } = param.attrs;
    const stored = sources.get(name)!;
    const bytes = stored instanceof Uint8Array ? stored : await readSpan(stored);
    params.set(name, ndarray(dtype, shapeOf(param), decodeElements(bytes, dtype)));
  }
  const { dtype, data } = evaluate(graph, { params }, 'doubles').results.get(preparedResult)!;
  return bytesOf(storeNumbers(dtype, data.map((v) => roundTo(dtype, v)))); // biome-ignore format: one row
}
