// Fusion: cuts a graph into regions, each of which becomes one kernel.
//
// Regions grow backwards from nodes that must be in memory (results, state updates, and whatever a formed region asks
// for). Consumers are visited before producers, so when a node is asked whether it may be computed inside a region, all
// its users are known. From the root a region takes in
//   - free nodes (views, conversions, constants): always, even if that computes them twice;
//   - elementwise nodes whose users are all inside: the epilogue of the anchor below them;
//   - elementwise nodes of one large array, whoever else uses them: reading the array costs what reading the node would;
//   - contractions reached through elementwise nodes only: the anchors (several, if they share the left operand);
//   - reductions over the last axis whose rows are the root's rows: they stay on chip (row regions).
// Below a contraction, the right operand takes in whatever is made of weights alone (conversion, dequantisation) and the
// left operand takes in free nodes; with few rows it also takes in row reductions such as norms, computed once per task.
// Where tasks are groups of threads, a contraction with few rows may also have its results in parts of the root: side by
// side in a concat (the halves of a rotation), or in the part of a state that the root writes (a cache append).
import { dimEquals, dimProduct, shapeEquals } from '../../ir/dim.ts';
import { isFloat } from '../../ir/dtype.ts';
import { ModelcError } from '../../ir/error.ts';
import { type Graph, roots, topologicalOrder, usersOf } from '../../ir/graph.ts';
import { isOp, type Node, type OpName } from '../../ir/node.ts';
import { contraction } from '../../ir/ops/contraction.ts';
import { elementwise } from '../../ir/ops/elementwise.ts';
import { opOf } from '../../ir/ops/index.ts';
import { reduction } from '../../ir/ops/reduction.ts';
import { freeAxes, isRowReduction, isUpdate, keepsOrder, keepsRows, partsOf, type Region, type RegionGraph, type RegionKind } from '../../ir/region.ts'; // biome-ignore format: one row
import type { Target } from '../../ir/target.ts';
import { launchesOf } from './launches.ts';
import { normParts } from './norm-parts.ts';
import { isPartialUpdate, separateOutputs } from './outputs.ts';
import { sourceTable } from './sources.ts';

/** A contraction with at most this many rows on the left streams its weights once: a matvec. */
const maxMatvecRows = 64;

const freeOps: ReadonlySet<OpName> = new Set<OpName>([
  'const', 'iota', 'dim', 'reshape', 'transpose', 'broadcast', 'slice', 'reverse', 'cast', 'bitcast', 'mark', 'fence', 'cache_read',
]); // biome-ignore format: one row
const transcendental: ReadonlySet<OpName> = new Set<OpName>(['exp', 'log', 'sin', 'cos', 'tanh', 'erf', 'pow', 'div', 'sqrt', 'rsqrt', 'rem', 'attention_merge']); // biome-ignore format: one row

/** Ways in which one region may read a computed node: each computes it anew. More than that, and it goes to memory. */
const maxWays = 8;
/** How much deeper in the graph something may lie that a product's epilogue reads than the product itself. */
const nearby = 16;
/** Nodes of one region, so that kernels of endless chains stay of a size that compilers like. */
const maxInterior = 256;

type Class = 'memory' | 'free' | 'map' | 'fold' | 'opaque';
function classOf(n: Node): Class {
  if (n.op === 'param') return 'memory';
  if (freeOps.has(n.op)) return 'free';
  const op = opOf(n.op);
  if (!op.element) return 'opaque';
  return n.op in contraction || n.op in reduction ? 'fold' : 'map';
}

const isElementwise = (n: Node) => n.op in elementwise || n.op === 'mark';

/** Whether the matmul template applies: a product of matrices of floats, in any layout, accumulated in f32. */
export function isMatrixProduct(n: Node): n is Node<'dot_general'> {
  if (!isOp(n, 'dot_general')) return false;
  const { contract, acc } = n.attrs;
  const [lhs, rhs] = n.args;
  const hasColumns = freeAxes(n, 1).length > 0;
  return acc === 'f32' && contract[0].length > 0 && hasColumns && isFloat(lhs.type.dtype) && isFloat(rhs.type.dtype);
}

/** Whether a product has the layout of the matvec template: x [.., K] times w [.., K]. */
function isPlain({ attrs: { batch, contract }, args }: Node<'dot_general'>): boolean {
  const isLast = (side: 0 | 1) => contract[side][0] === args[side].type.shape.length - 1;
  return batch[0].length === 0 && contract[0].length === 1 && isLast(0) && isLast(1);
}

/** Rows on the left of a matrix product, in one entry of its batch. */
const productRows = (n: Node<'dot_general'>) => dimProduct(freeAxes(n, 0).map((axis) => n.args[0].type.shape[axis]));

/** Whether a matrix product is a matvec. */
export const hasFewRows = (n: Node<'dot_general'>): boolean => isPlain(n) && productRows(n).max <= maxMatvecRows;

/** The graph, with its outputs separated, as regions in launches. */
export function fuse(graph: Graph, target: Target): RegionGraph {
  const copied = new Set<Node>(); // states that cannot be updated in place
  for (;;) {
    const separated = separateOutputs(graph, copied);
    const ordered = launchesOf(separated, regionsOf(separated, target));
    if ('launches' in ordered) return { graph: separated, launches: ordered.launches };
    for (const state of ordered.conflicts) copied.add(state);
  }
}

/** The regions that compute what must be in memory, arguments first. */
function regionsOf(graph: Graph, target: Target): Region[] {
  const order = topologicalOrder(roots(graph));
  const position = new Map(order.map((n, i) => [n, i]));
  const users = usersOf(order);
  const results = new Set([...graph.results.values(), ...graph.updates.values()]);
  const inPlace = new Set<Node>();
  for (const [param, value] of graph.updates) if (isPartialUpdate(param, value)) inPlace.add(value);
  const onlyWeights = dependencyTable(order, (p) => p.attrs.kind === 'weight' || p.attrs.kind === 'constant');
  const noParams = dependencyTable(order, () => false);
  const isNormPart = normParts({
    isStored: (n) => n.op === 'param' || results.has(n),
    isView: (n) => freeOps.has(n.op),
    isFixed: (n) => onlyWeights.has(n),
  });
  const sourcesOf = sourceTable((n) => n.op === 'param' || results.has(n));
  const depth = new Map<Node, number>(); // computed nodes on the longest way from a param
  for (const n of order) {
    depth.set(n, Math.max(0, ...n.args.map((a) => depth.get(a)!)) + (freeOps.has(n.op) || n.op === 'param' ? 0 : 1));
  }

  const needed = new Set<Node>([...results].filter((n) => n.op !== 'param'));
  const regions: Region[] = [];
  for (const n of [...order].reverse()) if (needed.has(n)) regions.push(form(n));
  return regions.reverse();

  function form(root: Node): Region {
    const interior = new Set<Node>([root]);
    const anchors: Node[] = [];
    const inputs: Node[] = [];
    // Nodes to decide on, latest first: when one is decided, every user that may be inside has been.
    const candidates = new Set<Node>();
    const ways = new Map<Node, ReadonlySet<string>>([[root, new Set([''])]]);
    /** What the nodes that a product's left operand is computed by read. */
    const below: Node[] = [];
    let kind: RegionKind = 'map';
    /** What lies between the root and the parts in which a product's results may come; see `partsOf`. */
    const hasParts = target.groupThreads > 1 && (inPlace.has(root) || !isUpdate(root));
    const frame: ReadonlySet<Node> = new Set(hasParts ? partsOf(root).frame : []);

    const input = (n: Node) => {
      if (!inputs.includes(n)) inputs.push(n);
      if (n.op !== 'param') needed.add(n);
    };
    const inside = (n: Node) => users.get(n)!.every((u) => interior.has(u)) && !results.has(n);
    /** The arguments that a node inside computes with; what a fence waits for is only awaited. */
    const operandsOf = (n: Node): readonly Node[] => {
      if (!isOp(n, 'fence')) return n.args;
      let awaited = n.args[1];
      while (freeOps.has(awaited.op) && awaited.args.length > 0) awaited = awaited.args[0];
      input(awaited);
      return n.args.slice(0, 1);
    };
    const take = (n: Node) => {
      interior.add(n);
      if (n !== root) ways.set(n, waysOf(n));
      for (const a of operandsOf(n)) candidates.add(a);
    };
    /** Whether the kernel can bind all that it reads and writes if it computes `a` instead of reading it. */
    const fits = (a: Node) => {
      const others = [...inputs, ...candidates, ...below, ...anchors.flatMap((n) => n.args)];
      const count = bindingsOf(root, [...others, ...a.args]);
      return count <= target.bindings || count <= bindingsOf(root, [...others, a]);
    };
    const latest = () => [...candidates].reduce((a, b) => (position.get(a)! > position.get(b)! ? a : b));

    const rootClass = classOf(root);
    if (inPlace.has(root)) {
      kind = 'update';
      anchors.push(root);
      for (const a of root.args.slice(1)) candidates.add(a);
    } else if (root.op === 'mark' && results.has(root)) {
      input(root.args[0]); // a copy: see separateOutputs
    } else if (isMatrixProduct(root)) anchors.push(root);
    else if (rootClass === 'opaque') {
      kind = opaqueKind(root);
      anchors.push(root);
      // A scan reads its operands one by one, as a map does.
      for (const a of root.args)
        if (kind === 'scan') candidates.add(a);
        else placeOperand(a);
    } else {
      if (rootClass === 'fold') {
        if (isRowReduction(root)) kind = 'row';
        anchors.push(root);
      }
      const attention = kind === 'map' ? permutedAttention(root) : undefined;
      if (attention) {
        kind = 'attention';
        anchors.push(attention);
        for (let n = root; n !== attention; n = n.args[0]) interior.add(n.args[0]);
        for (const a of attention.args) placeOperand(a);
      } else take(root);
    }
    while (candidates.size > 0) {
      const a = latest();
      candidates.delete(a);
      decide(a);
    }
    const products = anchors.filter(isMatrixProduct);
    if (products.length === 0) return { kind, root, anchors, inputs, interior };
    const few = hasFewRows(products[0]);
    const rows = productRows(products[0]);
    placeLeft(products[0].args[0]);
    for (const p of products) placeRight(p.args[1]);
    return { kind: few ? 'matvec' : 'matmul', root, anchors: products, inputs, interior };

    function decide(a: Node): void {
      const cls = classOf(a);
      if (cls === 'memory') return input(a);
      if (!fits(a)) return input(a);
      if (cls === 'free') return take(a);
      const isSmall = interior.size < maxInterior && waysOf(a).size <= maxWays;
      if (cls === 'map' && noParams.has(a) && isSmall) return take(a);
      const sameSize = dimEquals(dimProduct(a.type.shape), dimProduct(root.type.shape));
      if (!isSmall || !(inside(a) || (sameSize && isCheapAgain(a)))) return input(a);
      const cheap =
        sameSize || kind === 'row' || kind === 'update' || !transcendental.has(a.op) || (hasRows(a) && isNormPart(a));
      if (cls === 'map' && cheap) return take(a);
      if ((kind === 'map' || kind === 'update') && isMatrixProduct(a) && isAligned(a) && joins(a) && isDue(a)) {
        interior.add(a);
        anchors.push(a);
        return;
      }
      if (isRowReduction(a) && (kind === 'map' || kind === 'row') && !anchors.some(isMatrixProduct) && isPerRow(a)) {
        kind = 'row';
        return take(a);
      }
      input(a);
    }

    /** The different indices at which the region reads `a`, by the views that lead there. */
    function waysOf(a: Node): ReadonlySet<string> {
      const found = new Set<string>();
      for (const u of users.get(a)!) {
        for (const way of interior.has(u) ? (ways.get(u) ?? ['']) : []) {
          u.args.forEach((arg, i) => {
            if (arg === a) found.add(isElementwise(u) ? way : `${way} ${u.id}.${i}`);
          });
        }
      }
      return found;
    }

    /** Whether every way from the root down to `a` leads through users that `passes` accepts. */
    function isReached(a: Node, passes: (u: Node, arg: Node) => boolean): boolean {
      const seen = new Set<Node>([root]);
      const stack = [a];
      for (let n = stack.pop(); n; n = stack.pop()) {
        if (seen.has(n)) continue;
        seen.add(n);
        for (const u of users.get(n)!) {
          if (!interior.has(u) || !passes(u, n)) return false;
          stack.push(u);
        }
      }
      return true;
    }

    /** Whether `a` is computed at the own index of the root, or of its parts: nothing in between moves elements. */
    function isAligned(a: Node<'dot_general'>): boolean {
      const inParts = hasFewRows(a);
      return isReached(a, (u, arg) => {
        if (isElementwise(u) || keepsOrder(u)) return true;
        return inParts && frame.has(u) && (u.op === 'concat' || u.args.every((b, i) => (b === arg) === (i === 1)));
      });
    }

    /** Whether the root needs `a` once for each of its rows: nothing in between moves elements to another row. */
    function isPerRow(a: Node): boolean {
      return hasRows(a) && isReached(a, keepsRows);
    }

    /** Contractions of one region read the same left operand and give results of one shape. */
    function joins(a: Node<'dot_general'>): boolean {
      const first = anchors.find(isMatrixProduct);
      return first === undefined || (a.args[0] === first.args[0] && readsLike(a, first));
    }

    /** Whether what else the region reads is there when `a` can be computed, or soon: it is not to wait for that. */
    function isDue(a: Node): boolean {
      const others = [...inputs, ...candidates].filter((n) => n !== a);
      return others.every((n) => depth.get(n)! <= depth.get(a)! + nearby);
    }

    function hasRows(a: Node): boolean {
      const rows = a.type.shape;
      const shape = root.type.shape;
      const isRow = rootClass === 'fold' ? shapeEquals(rows, shape) : shapeEquals(rows, shape.slice(0, -1));
      return isRow || shapeEquals(rows, shape);
    }

    function placeRight(a: Node): void {
      if (interior.has(a)) return;
      const cls = classOf(a);
      if ((cls === 'free' || (cls === 'map' && onlyWeights.has(a))) && fits(a)) {
        interior.add(a);
        for (const b of operandsOf(a)) placeRight(b);
      } else input(a);
    }

    /**
     * Below the left operand. With few rows, what leads to a row reduction or follows from one is computed by every task
     * for itself; a node that has to be in memory anyway, or that can be the epilogue of another product, is read.
     */
    function placeLeft(a: Node, belowReduction = false): void {
      if (interior.has(a)) return;
      const cls = classOf(a);
      const small = dimEquals(dimProduct(a.type.shape), rows);
      const perRow = small && (cls === 'map' || isRowReduction(a));
      const perElement = isElementwise(a) && !transcendental.has(a.op) && (belowReduction ? inside(a) : isNormPart(a));
      const computed = few && !needed.has(a) && !a.args.some(leadsToProduct) && (perRow || perElement) && fits(a);
      // Tiles of groups want rows in memory in their own type: what computes them converts them too
      const isOperand =
        !few && isOp(a, 'cast') && target.tiles.some((t) => t.threads > 1 && t.operands === a.type.dtype);
      // and an attention can store its result in the order in which many rows are read
      const isStored = isOperand || (!few && permutedAttention(a) !== undefined);
      if ((cls === 'free' && !isStored) || computed) {
        interior.add(a);
        const operands = operandsOf(a);
        below.push(...operands);
        for (const b of operands) placeLeft(b, belowReduction || isRowReduction(a));
      } else input(a);
    }

    /** Operands of templates that read memory themselves: views only. */
    function placeOperand(a: Node): void {
      if (interior.has(a)) return;
      if (classOf(a) === 'free') {
        interior.add(a);
        for (const b of operandsOf(a)) placeOperand(b);
      } else input(a);
    }
  }

  /** Whether `a` can be computed from one array of its size, and smaller ones: no more is read than if it were kept. */
  function isCheapAgain(a: Node): boolean {
    return isElementwise(a) && !results.has(a) && !needed.has(a) && sourcesOf(a).size <= 1;
  }

  /** Memory arrays of a kernel. Where the target binds the arena, all intermediate arrays together are one. */
  function bindingsOf(root: Node, nodes: readonly Node[]): number {
    const bound = new Set<Node | 'arena'>();
    const bind = (n: Node) => bound.add(target.bindsArena && n.op !== 'param' && !results.has(n) ? 'arena' : n);
    const visit = (n: Node): void => {
      if (freeOps.has(n.op) && !results.has(n)) n.args.forEach(visit);
      else bind(n);
    };
    bind(root);
    nodes.forEach(visit);
    return bound.size;
  }

  /** Whether `a` is a matrix product or a view of one. */
  function leadsToProduct(a: Node): boolean {
    return isMatrixProduct(a) || (freeOps.has(a.op) && a.args.some(leadsToProduct));
  }

  /** transpose and reshape over an attention that nobody else reads: the attention stores in that order. */
  function permutedAttention(root: Node): Node | undefined {
    let n = root;
    let transposed = false;
    while (n.op === 'reshape' || (n.op === 'transpose' && !transposed)) {
      transposed ||= n.op === 'transpose';
      n = n.args[0];
      if (users.get(n)!.length !== 1 || results.has(n)) return undefined;
    }
    return n !== root && n.op === 'attention' && transposed ? n : undefined;
  }
}

function opaqueKind(n: Node): RegionKind {
  switch (n.op) {
    case 'attention':
    case 'attention_split':
      return 'attention';
    case 'scatter':
      return 'scatter';
    case 'scan':
      return 'scan';
    case 'sort':
    case 'top_k':
      return 'sort';
    default:
      throw new ModelcError('unsupported', `op ${n.op} has no kernel template; decompose it or run --target reference`);
  }
}

/** Whether two products read the left operand alike and give results of one shape. */
function readsLike(a: Node<'dot_general'>, b: Node<'dot_general'>): boolean {
  const [left, other] = [a, b].map(({ attrs }) => JSON.stringify([attrs.batch[0], attrs.contract[0]]));
  const [columns, others] = [a, b].map((n) => freeAxes(n, 1).map((axis) => n.args[1].type.shape[axis]));
  return left === other && shapeEquals(a.type.shape, b.type.shape) && shapeEquals(columns, others);
}

/** Nodes whose params all satisfy `accepts`. */
function dependencyTable(order: readonly Node[], accepts: (p: Node<'param'>) => boolean): Set<Node> {
  const set = new Set<Node>();
  for (const n of order) {
    if (isOp(n, 'param') ? accepts(n) : n.args.every((a) => set.has(a))) set.add(n);
  }
  return set;
}
