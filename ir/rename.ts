// Kernel text under other names: the statements of a kernel with every variable, buffer and fragment renamed. What two
// kernels declare can then stand in one.
import type { Expr, Stmt } from './loop.ts';
import { exprKey } from './loop.ts';

/** The statements with every name replaced by what `rename` gives for it. */
export function renameStmts(body: readonly Stmt[], rename: (name: string) => string): Stmt[] {
  const known = new Map<string, Expr>();
  const expr = (e: Expr): Expr => {
    const key = exprKey(e);
    let renamed = known.get(key);
    if (!renamed) known.set(key, (renamed = renameExpr(e, rename, expr)));
    return renamed;
  };
  const stmts = (list: readonly Stmt[]): Stmt[] => list.map((s) => renameStmt(s, rename, expr, stmts));
  return stmts(body);
}

function renameExpr(e: Expr, rename: (name: string) => string, expr: (e: Expr) => Expr): Expr {
  switch (e.kind) {
    case 'const':
      return e;
    case 'var':
      return { ...e, name: rename(e.name) };
    case 'load':
      return { ...e, buffer: rename(e.buffer), index: expr(e.index) };
    case 'alu':
      return { ...e, args: e.args.map(expr) };
    case 'zip':
      return { ...e, args: [expr(e.args[0]), expr(e.args[1])] };
    case 'cast':
    case 'bitcast':
    case 'splat':
    case 'across':
      return { ...e, arg: expr(e.arg) };
    case 'ramp':
      return { ...e, start: expr(e.start) };
    default:
      return e satisfies never;
  }
}

function renameStmt(
  s: Stmt,
  rename: (name: string) => string,
  expr: (e: Expr) => Expr,
  stmts: (list: readonly Stmt[]) => Stmt[],
): Stmt {
  switch (s.kind) {
    case 'for':
      return { ...s, name: rename(s.name), start: expr(s.start), end: expr(s.end), body: stmts(s.body) };
    case 'if':
      return { ...s, condition: expr(s.condition), then: stmts(s.then), otherwise: stmts(s.otherwise) };
    case 'let':
    case 'assign':
      return { ...s, name: rename(s.name), value: expr(s.value) };
    case 'store':
      return { ...s, buffer: rename(s.buffer), index: expr(s.index), value: expr(s.value) };
    case 'alloc':
      return { ...s, buffer: rename(s.buffer), ...(s.over === undefined ? {} : { over: rename(s.over) }) };
    case 'reduce':
      return { ...s, values: s.values.map(({ name, value }) => ({ name: rename(name), value: expr(value) })) };
    case 'prefetch':
      return { ...s, buffer: rename(s.buffer), index: expr(s.index) };
    case 'fragment':
      return { ...s, name: rename(s.name) };
    case 'tile_load':
      return { ...s, fragment: rename(s.fragment), panel: rename(s.panel), row: expr(s.row), column: expr(s.column) };
    case 'tile_read':
    case 'tile_store':
      return { ...s, fragment: rename(s.fragment), buffer: rename(s.buffer), index: expr(s.index) };
    case 'tile_multiply':
      return { ...s, sum: rename(s.sum), left: rename(s.left), right: rename(s.right) };
    case 'tile_scale':
      return { ...s, sum: rename(s.sum), buffer: rename(s.buffer), index: expr(s.index) };
    case 'copy':
      return {
        ...s,
        to: rename(s.to),
        at: expr(s.at),
        from: rename(s.from),
        index: expr(s.index),
        inside: expr(s.inside),
      };
    case 'barrier':
    case 'copy_batch':
    case 'copy_wait':
      return s;
    default:
      return s satisfies never;
  }
}
