// Types of the loop language's expressions: what every operation takes and gives. An expression is checked where it
// stands, so that the names it mentions are those that are visible there.
import { dtypeInfo, isDType } from './dtype.ts';
import { type AluOp, binaryAlu, compareAlu, type Expr, type ScalarType, unaryAlu } from './loop.ts';

/** A visible variable. */
export interface Variable {
  readonly dtype: ScalarType;
  readonly lanes: number;
  readonly mutable: boolean;
}

/** What the check of an expression knows of the place where it stands. */
export interface ExprScope {
  /** Most lanes of a vector. */
  readonly lanes: number;
  variable(name: string): Variable | undefined;
  /** Type of the elements of a visible buffer that is read. Throws when there is none. */
  readable(buffer: string): ScalarType;
  /** Throws: the expression breaks a rule. */
  fail(rule: number, problem: string): never;
}

const arity: ReadonlyMap<string, number> = new Map<AluOp, number>([
  ...unaryAlu.map((op) => [op, 1] as const),
  ...[...binaryAlu, ...compareAlu].map((op) => [op, 2] as const),
  ['select', 3],
  ['fma', 3],
]);
const compares: ReadonlySet<string> = new Set(compareAlu);
const onBool: ReadonlySet<string> = new Set(['and', 'or', 'xor', 'min', 'max', 'mul']);
const onBits: ReadonlySet<string> = new Set(['and', 'or', 'xor', 'shl', 'shr']);
const onFloats: ReadonlySet<string> = new Set([
  'exp', 'log', 'sin', 'cos', 'tanh', 'erf', 'sqrt', 'rsqrt', 'pow',
]); // biome-ignore format: one row

const isScalarType = (dtype: string): dtype is ScalarType => dtype === 'index' || isDType(dtype);
const isFloat = (dtype: ScalarType): boolean => dtype !== 'index' && dtypeInfo[dtype].kind === 'float';
export const typeName = (e: { readonly dtype: string; readonly lanes: number }): string =>
  e.lanes === 1 ? `${e.dtype}` : `${e.dtype} x ${e.lanes}`;

/**
 * Throws unless an expression is well typed:
 * - 2: A value has a known type, and a power of two of lanes, at most as many as the target's vectors have.
 * - 3: A constant is a number; one of type index, or a lane of it, a whole one.
 * - 4: A variable is visible, and has the type that it was declared with.
 * - 5: A load has the type of its buffer, which is visible; its index is a scalar of type index.
 * - 6: An operation has as many operands as it takes, all with its lanes and of one type on which it is defined; the
 *   result has that type, or bool. The condition of a select is bool.
 * - 7: Casts keep lanes. Bitcasts keep lanes and bytes of numbers, and are scalar for 16-bit floats. A splat makes a
 *   vector of a scalar of its type, a ramp i32 of a scalar index. The operands of a zip have its type. A reduction
 *   across lanes gives a scalar number of its operand's type.
 */
export function checkExpr(e: Expr, scope: ExprScope): void {
  const { lanes, dtype } = e;
  if (!isScalarType(dtype)) scope.fail(2, 'a value has an unknown type');
  if (!(Number.isInteger(lanes) && lanes >= 1 && lanes <= scope.lanes && (lanes & (lanes - 1)) === 0)) {
    scope.fail(2, `lanes must be a power of two up to ${scope.lanes}`);
  }
  switch (e.kind) {
    case 'const':
      if (typeof e.value !== 'number') scope.fail(3, 'a constant must be a number');
      if (dtype === 'index' && !Number.isSafeInteger(e.value)) scope.fail(3, 'a constant index must be whole');
      return;
    case 'var': {
      const known = scope.variable(e.name);
      if (!known) scope.fail(4, `unknown variable '${e.name}'`);
      if (known.dtype !== dtype || known.lanes !== lanes) {
        scope.fail(4, `variable '${e.name}' has another type: ${typeName(known)}, not ${typeName(e)}`);
      }
      return;
    }
    case 'load': {
      const held = scope.readable(e.buffer);
      if (held !== dtype) scope.fail(5, `buffer '${e.buffer}' holds ${held}, not ${dtype}`);
      return checkIndex(e.index, scope, 5);
    }
    case 'alu':
      return checkAlu(e, scope);
    default:
      return checkConversion(e, scope);
  }
}

/** Throws unless an expression is a well typed scalar of type index. */
export function checkIndex(e: Expr, scope: ExprScope, rule: number): void {
  checkExpr(e, scope);
  if (e.dtype !== 'index' || e.lanes !== 1) scope.fail(rule, 'an index must be a scalar of type index');
}

/** Throws unless an expression is a well typed scalar bool. */
export function checkCondition(e: Expr, scope: ExprScope, rule: number): void {
  checkExpr(e, scope);
  if (e.dtype !== 'bool' || e.lanes !== 1) scope.fail(rule, 'a condition must be a scalar bool');
}

function checkAlu(e: Expr & { kind: 'alu' }, scope: ExprScope): void {
  const { op, args } = e;
  if (arity.get(op) !== args.length) scope.fail(6, 'unknown operation or wrong number of operands');
  for (const arg of args) {
    checkExpr(arg, scope);
    if (arg.lanes !== e.lanes) scope.fail(6, `operands of ${op} differ in lanes`);
  }
  const operands = op === 'select' ? args.slice(1) : args;
  const { dtype } = operands[0];
  if (op === 'select' && args[0].dtype !== 'bool') scope.fail(6, 'the condition of a select is no bool');
  if (operands.some((arg) => arg.dtype !== dtype)) scope.fail(6, `operands of ${op} differ in type`);
  if (e.dtype !== (compares.has(op) ? 'bool' : dtype)) scope.fail(6, `${op} has a result of another type`);
  if (compares.has(op) || op === 'select') return;
  const float = isFloat(dtype);
  const isDefined = dtype === 'bool' ? onBool.has(op) : !(float ? onBits : onFloats).has(op);
  if (!isDefined) scope.fail(6, `${op} is not defined on ${dtype}`);
}

function checkConversion(
  e: Extract<Expr, { kind: 'cast' | 'bitcast' | 'splat' | 'ramp' | 'zip' | 'across' }>,
  scope: ExprScope,
): void {
  switch (e.kind) {
    case 'cast':
      checkExpr(e.arg, scope);
      if (e.arg.lanes !== e.lanes) scope.fail(7, 'a cast cannot change the number of lanes');
      return;
    case 'bitcast': {
      checkExpr(e.arg, scope);
      if (e.arg.lanes !== e.lanes) scope.fail(7, 'a bitcast cannot change the number of lanes');
      const [from, to] = [e.arg.dtype, e.dtype].map((t) => (t === 'index' || t === 'bool' ? 0 : dtypeInfo[t].bytes));
      if (from === 0 || from !== to) scope.fail(7, `a bitcast from ${e.arg.dtype} to ${e.dtype} changes the size`);
      return;
    }
    case 'splat':
      checkExpr(e.arg, scope);
      if (e.arg.lanes !== 1 || e.arg.dtype !== e.dtype) scope.fail(7, 'a splat takes a scalar of its own type');
      return;
    case 'ramp':
      checkIndex(e.start, scope, 7);
      if (e.dtype !== 'i32') scope.fail(7, 'a ramp is of i32');
      return;
    case 'zip':
      if (e.half !== 'low' && e.half !== 'high') scope.fail(7, 'a zip has a low and a high half');
      for (const arg of e.args) {
        checkExpr(arg, scope);
        if (arg.lanes !== e.lanes || arg.dtype !== e.dtype) scope.fail(7, 'the operands of a zip have its type');
      }
      return;
    case 'across':
      checkExpr(e.arg, scope);
      if (e.op !== 'add' && e.op !== 'max' && e.op !== 'min') scope.fail(7, 'unknown reduction across lanes');
      if (e.dtype === 'bool' || e.dtype !== e.arg.dtype || e.lanes !== 1) {
        scope.fail(7, 'a reduction across lanes gives a scalar number of the type of the lanes');
      }
      return;
    default:
      e satisfies never;
      scope.fail(2, 'unknown expression');
  }
}
