// A region while it grows: what it computes, what it reads, and what is still to be decided on.
import { isOp, type Node } from '../../ir/node.ts';
import { isElementwise, isFree, isUpdate, partsOf, type Region, type RegionKind } from '../../ir/region.ts';
import { bindingsOf, type Facts } from './facts.ts';

export class Forming {
  readonly interior: Set<Node>;
  readonly anchors: Node[] = [];
  readonly inputs: Node[] = [];
  /** Nodes to decide on, latest first: when one is decided, every user that may be inside has been. */
  readonly candidates = new Set<Node>();
  /** What the nodes that a product's left operand is computed by read. */
  readonly below: Node[] = [];
  kind: RegionKind = 'map';
  /** What lies between the root and the parts in which a product's results may come; see `partsOf`. */
  readonly frame: ReadonlySet<Node>;
  private readonly ways: Map<Node, ReadonlySet<string>>;

  /** `needed` holds what must be in memory for any region; what this region reads is added. */
  constructor(
    readonly facts: Facts,
    readonly root: Node,
    readonly needed: Set<Node>,
  ) {
    this.interior = new Set([root]);
    this.ways = new Map([[root, new Set([''])]]);
    const hasParts = facts.target.groupThreads > 1 && (facts.inPlace.has(root) || !isUpdate(root));
    this.frame = new Set(hasParts ? partsOf(root).frame : []);
  }

  /** Reads `n` from memory. */
  read(n: Node): void {
    if (!this.inputs.includes(n)) this.inputs.push(n);
    if (n.op !== 'param') this.needed.add(n);
  }

  /** Computes `n` in the region; its arguments are to be decided on. */
  take(n: Node): void {
    this.interior.add(n);
    if (n !== this.root) this.ways.set(n, this.waysOf(n));
    for (const a of this.operandsOf(n)) this.candidates.add(a);
  }

  /** The arguments that a node inside computes with; what a fence waits for is only awaited. */
  operandsOf(n: Node): readonly Node[] {
    if (!isOp(n, 'fence')) return n.args;
    let awaited = n.args[1];
    while (isFree(awaited) && awaited.args.length > 0) awaited = awaited.args[0];
    this.read(awaited);
    return n.args.slice(0, 1);
  }

  /** The candidate that stands last in the graph, which is a candidate no longer. */
  next(): Node {
    const { position } = this.facts;
    const n = [...this.candidates].reduce((a, b) => (position.get(a)! > position.get(b)! ? a : b));
    this.candidates.delete(n);
    return n;
  }

  /** Whether all users of `n` are inside. */
  isOwn(n: Node): boolean {
    return this.facts.users.get(n)!.every((u) => this.interior.has(u)) && !this.facts.results.has(n);
  }

  /** Whether the kernel can bind all that it reads and writes if it computes `n` instead of reading it. */
  fits(n: Node): boolean {
    const { facts, root, inputs, candidates, below, anchors } = this;
    const others = [...inputs, ...candidates, ...below, ...anchors.flatMap((a) => a.args)];
    const count = bindingsOf(facts, root, [...others, ...n.args]);
    return count <= facts.target.bindings || count <= bindingsOf(facts, root, [...others, n]);
  }

  /** The different indices at which the region reads `n`, by the views that lead there. */
  waysOf(n: Node): ReadonlySet<string> {
    const found = new Set<string>();
    for (const u of this.facts.users.get(n)!) {
      for (const way of this.interior.has(u) ? (this.ways.get(u) ?? ['']) : []) {
        u.args.forEach((arg, i) => {
          if (arg === n) found.add(isElementwise(u) ? way : `${way} ${u.id}.${i}`);
        });
      }
    }
    return found;
  }

  /** Whether every way from the root down to `n` leads through users that `passes` accepts. */
  isReached(n: Node, passes: (user: Node, arg: Node) => boolean): boolean {
    const seen = new Set<Node>([this.root]);
    const stack = [n];
    for (let top = stack.pop(); top; top = stack.pop()) {
      if (seen.has(top)) continue;
      seen.add(top);
      for (const u of this.facts.users.get(top)!) {
        if (!this.interior.has(u) || !passes(u, top)) return false;
        stack.push(u);
      }
    }
    return true;
  }

  region(kind: RegionKind, anchors: readonly Node[]): Region {
    return { kind, root: this.root, anchors, inputs: this.inputs, interior: this.interior };
  }
}
