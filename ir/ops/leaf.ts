// Leaves: nodes without arguments. Parameters, scalar constants, positions, and dimensions as values.
import { dimEval, dimText } from '../dim.ts';
import { castValue, dtypeInfo, isFloat, roundTo } from '../dtype.ts';
import { ModelcError } from '../error.ts';
import { cast, constant } from '../loop.ts';
import { stridesOf } from '../ndarray.ts';
import type { AttrKinds } from './attr-kinds.ts';
import { type LeafAttrs, type StateRole, stateRoles } from './attrs.ts';
import {
  fail,
  passthroughAxes,
  requireArity,
  requireAxis,
  requireChoice,
  requireClass,
  requireDType,
  requireInteger,
  requireShape,
  shapeOf,
} from './common.ts';
import type { OpTable } from './op.ts';

function requireRole(role: StateRole, rank: number): void {
  const kinds = Object.keys(stateRoles);
  if (!kinds.includes(role.kind)) {
    fail('param', 5, `kind of a role must be one of ${kinds.join(', ')}, got ${String(role.kind)}`);
  }
  const fields: AttrKinds = stateRoles[role.kind];
  for (const [field, value] of Object.entries(role)) {
    if (field === 'kind' || value === undefined) continue;
    if (!Object.hasOwn(fields, field)) fail('param', 5, `a role of kind ${role.kind} has no ${field}`);
    if (field === 'of') {
      if (typeof value !== 'string') fail('param', 5, '`of` must be a string');
    } else if (field === 'layer') requireInteger('param', 5, field, value as number, 0);
    else requireAxis('param', 5, value as number, rank, field);
  }
  const needed = Object.keys(fields).filter((field) => typeof fields[field] === 'string');
  const missing = needed.find((field) => Reflect.get(role, field) === undefined);
  if (missing) fail('param', 5, `a role of kind ${role.kind} needs ${missing}`);
  if ('positions' in role && role.positions === role.rows) {
    fail('param', 5, `rows and positions cannot both lie along axis ${role.rows}`);
  }
}

export const leaf: OpTable<LeafAttrs> = {
  /**
   * A value bound from outside.
   * C1: the name is 1 to 512 characters, none of them a control character.
   * C2: kind is input, weight, state or constant. C3: dtype is known. C4: no dimension can be negative.
   * C5: only states have a role, whose axes are different axes of the shape, and whose layer is not negative.
   */
  param: {
    infer(args, attrs) {
      const { name, kind, dtype, shape, role } = attrs;
      requireArity('param', args, 0);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what must not be there
      if (typeof name !== 'string' || !/^[^\u0000-\u001f\u007f]{1,512}$/.test(name)) {
        fail('param', 1, `a name must be 1 to 512 printable characters, got ${JSON.stringify(name)?.slice(0, 80)}`);
      }
      requireChoice('param', 2, attrs, 'kind');
      requireDType('param', 3, dtype);
      requireShape('param', 4, shape);
      if (role !== undefined) {
        if (kind !== 'state') fail('param', 5, `only states have a role, but ${name} is of kind ${kind}`);
        requireRole(role, shape.length);
      }
      return { dtype, shape };
    },
    axes(node) {
      return passthroughAxes(node.type.shape, 0, []);
    },
    eval(node) {
      throw new ModelcError(
        'input',
        `param ${node.attrs.name} has no value of its own; bind it when evaluating a graph`,
      );
    },
  },

  /**
   * A scalar. Floats are rounded to dtype.
   * C1: dtype is known. C2: of a bool the value is 0 or 1, of an integer type an integer that it can hold.
   */
  const: {
    cost: 'free',
    infer(args, { value, dtype }) {
      requireArity('const', args, 0);
      requireDType('const', 1, dtype);
      if (typeof value !== 'number') fail('const', 2, `value must be a number, got ${String(value)}`);
      const { min, max } = dtypeInfo[dtype];
      if (!isFloat(dtype) && !(Number.isInteger(value) && value >= min && value <= max)) {
        fail('const', 2, `${value} is no ${dtype}`);
      }
      return { dtype, shape: [] };
    },
    axes() {
      return { factors: [], args: [], result: [] };
    },
    eval({ attrs: { value, dtype } }) {
      return { dtype, shape: [], data: Float64Array.of(roundTo(dtype, value)) };
    },
    element({ attrs: { value, dtype } }) {
      return constant(roundTo(dtype, value), dtype);
    },
  },

  /**
   * Positions along an axis, converted to dtype as `cast` does from i64.
   * C1: dtype is known and numeric. C2: no dimension can be negative. C3: axis is an axis of shape.
   */
  iota: {
    cost: 'free',
    infer(args, { shape, axis, dtype }) {
      requireArity('iota', args, 0);
      requireDType('iota', 1, dtype);
      requireClass('iota', 1, dtype, 'numeric');
      requireShape('iota', 2, shape);
      requireAxis('iota', 3, axis, shape.length);
      return { dtype, shape };
    },
    // a part of the axis does not know its position: the axis must be seen whole
    axes(node) {
      return passthroughAxes(node.type.shape, 0, [node.attrs.axis]);
    },
    eval(node, _args, env) {
      const { axis, dtype } = node.attrs;
      const shape = shapeOf(node, env);
      const step = stridesOf(shape)[axis];
      const data = new Float64Array(shape.reduce((n, d) => n * d, 1));
      for (let i = 0; i < data.length; i++) data[i] = castValue('i64', dtype, Math.floor(i / step) % shape[axis]);
      return { dtype, shape, data };
    },
    element({ attrs: { axis, dtype } }, at) {
      return cast(at[axis], dtype);
    },
  },

  /**
   * A dimension as an i32 scalar.
   * C1: it is a dimension whose bounds are within i32.
   */
  dim: {
    cost: 'free',
    infer(args, attrs) {
      requireArity('dim', args, 0);
      requireShape('dim', 1, [attrs.dim], 'value');
      if (attrs.dim.max > dtypeInfo.i32.max) fail('dim', 1, `${dimText(attrs.dim)} can be ${attrs.dim.max}, no i32`);
      return { dtype: 'i32', shape: [] };
    },
    axes() {
      return { factors: [], args: [], result: [] };
    },
    eval(node, _args, env) {
      return { dtype: 'i32', shape: [], data: Float64Array.of(dimEval(node.attrs.dim, env)) };
    },
    element(node, _at, context) {
      return cast(context.size(node.attrs.dim), 'i32');
    },
  },
};
